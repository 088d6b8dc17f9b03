"""Who is who: the zone's CA, enrolment, verification of peers, signed statements, pairing of zones.

Imported by partners too: nothing here loads the database unless `gateway.identity.registry` is imported.
"""
