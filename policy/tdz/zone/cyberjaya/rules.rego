# METADATA
# title: Rules of the zone cyberjaya's administrators
# description: |
#   They may only tighten: findings and obligations are added to those of the packs, nothing here can take one
#   away. Add rules of the form `findings contains {"code": ..., "effect": ..., "fields": [...]} if { ... }`
#   with METADATA for the code.
package tdz.zone.cyberjaya

findings := set()

obligations := set()
