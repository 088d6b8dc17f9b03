# METADATA
# title: US export control, as signals
# description: |
#   Advice to the Malaysian side, never more than a warning, and never told to the other zone: implementing the
#   US guidance of 13 May 2025 may breach China's Anti-Foreign Sanctions Law art 12 (commerce ministry, 21 May
#   2025). ECCN 3A090.a: total processing performance (TPP, dense TOPS x bit length) of 4800 or more, or 1600 or
#   more at a performance density (TPP per mm2 of die) of 5.92 or more; 4A090: computers that contain such devices.
package tdz.packs.us.ear

import data.tdz.lib.flow
import data.tdz.lib.given
import data.tdz.lib.shape
import data.tdz.lib.verdict as judged

default verdict := "incomplete"

verdict := "not_applicable" if {
	shape.complete
	flow.only_enters("MY")
}

verdict := judged.of(findings) if {
	shape.complete
	flow.leaves("MY")
}

default leaves := false

leaves if flow.leaves("MY")

default weights := false

weights if {
	leaves
	given.model
}

# Known to stand in no listed country: what is unknown, or a list out of date, clears nobody.
outside(country) if {
	d5_holds
	not country == "unknown"
	not d5.countries[country]
}

d5 := data.tdz.lists.us.country_group_d5

default d5_holds := false

d5_holds if {
	shape.whole(d5.valid_until, 1, 7258118400)
	input.request.now < d5.valid_until
}

# METADATA
# title: Headquarters in a listed country
# custom:
#   code: RF-HQ
#   authority: advisory
#   cite: BIS guidance of 13 May 2025, General Prohibition 10; EAR Country Group D:5 and Macau, Hong Kong as China [U]
#   remedy: None by itself; it means something beside another signal
findings contains {
	"code": "RF-HQ",
	"effect": "info",
	"fields": ["recipient.hq_country", "recipient.ultimate_parent_country"],
} if {
	leaves
	headquarters
}

headquarters if not outside(input.recipient.hq_country)

headquarters if not outside(input.recipient.ultimate_parent_country)

# METADATA
# title: Listed owners
# custom:
#   code: RF-OWN
#   authority: advisory
#   cite: EAR affiliates rule, 50 % or more together; suspended until 9 Nov 2026, whether it is back was not found
#   remedy: Have the recipient's owners and their shares verified in the register
findings contains {"code": "RF-OWN", "effect": "warn", "fields": ["recipient.owners"]} if {
	leaves
	owned
}

default owned := false

owned if sum([owner.pct | some owner in input.recipient.owners; not owner.listed == "no"]) >= 50

# A listed owner without a share: the share is not known.
owned if {
	some owner in input.recipient.owners
	not owner.listed == "no"
	owner.pct == 0
}

# METADATA
# title: Trained on a device of US origin at 3A090.a
# custom:
#   code: RF-DEV-US
#   authority: advisory
#   cite: EAR ECCN 3A090.a and 4A090
#   remedy: Have counsel look at the devices before the weights leave
findings contains {"code": "RF-DEV-US", "effect": "warn", "fields": ["model.training.runs"]} if {
	weights
	some country in origins
	american[country]
}

american := {"US", "unknown"}

# METADATA
# title: Trained on a device at 3A090.a of a vendor in a listed country
# custom:
#   code: RF-DEV-PRC
#   authority: advisory
#   cite: BIS guidance of 13 May 2025, General Prohibition 10 (Ascend 910B, C and D are its examples)
#   remedy: Have counsel of the Malaysian side look at it; Chinese law may forbid to act on the guidance
findings contains {"code": "RF-DEV-PRC", "effect": "warn", "fields": ["model.training.runs"]} if {
	weights
	some country in origins
	not outside(country)
}

# Where the vendors of devices at that performance stand.
origins contains device.vendor_country if {
	some run in input.model.training.runs
	some device in run.devices
	powerful(device)
}

classified := {"3A090.a", "4A090"}

powerful(device) if classified[device.eccn]

powerful(device) if device.tops * device.bits >= 4800

# In hundredths; a die of unknown size is the densest.
powerful(device) if {
	tpp := device.tops * device.bits
	tpp >= 1600
	tpp < 4800
	tpp * 100 >= device.die_mm2 * 592
}

powerful(device) if {
	device.eccn == "unknown"
	device.tops == 0
}

# METADATA
# title: The end use is not known to be civil
# custom:
#   code: RF-ENDUSE
#   authority: advisory
#   cite: BIS guidance of 13 May 2025; training for weapons of mass destruction or military intelligence may need a licence
#   remedy: State the civil end use and purpose
findings contains {"code": "RF-ENDUSE", "effect": "warn", "fields": ["model.end_use", "request.purpose"]} if {
	leaves
	uncivil
}

uncivil if {
	given.model
	not input.model.end_use == "civil"
}

uncivil if doubtful_purposes[input.request.purpose]

doubtful_purposes := {"military", "unknown"}

# METADATA
# title: Compute hired from a third party
# custom:
#   code: RF-IAAS
#   authority: advisory
#   cite: BIS guidance of 13 May 2025; infrastructure as a service is a red flag
#   remedy: Say who ran the compute, and for whom
findings contains {"code": "RF-IAAS", "effect": "warn", "fields": ["model.training.runs"]} if {
	weights
	some run in input.model.training.runs
	not run.hired == "no"
}

# METADATA
# title: Capacity that nobody attests
# custom:
#   code: RF-CAP
#   authority: advisory
#   cite: BIS guidance of 13 May 2025; capacity that cannot be shown is a red flag
#   remedy: Attest the training runs, by hardware or by signature
findings contains {"code": "RF-CAP", "effect": "warn", "fields": ["model.training.runs"]} if {
	weights
	unattested
}

unattested if {
	some run in input.model.training.runs
	run.attestation == "none"
}

unattested if input.model.training.runs == []

# METADATA
# title: More operations than the zone's limit
# custom:
#   code: RF-FLOP
#   authority: house
#   cite: House signal at 10^26 operations, after ECCN 4E091, which is not enforced
#   remedy: Look at the training runs; the limit stands in lists/us/compute_limit
findings contains {"code": "RF-FLOP", "effect": "warn", "fields": ["model.training.runs"]} if {
	weights
	not within_limit
}

within_limit if {
	limit := data.tdz.lists.us.compute_limit.exaops
	shape.whole(limit, 0, 1000000000000000)
	sum([run.exaops | some run in input.model.training.runs]) <= limit
}

# METADATA
# title: More operations than the devices could do
# custom:
#   code: RF-MISMATCH
#   authority: house
#   cite: House signal; claimed operations exceed device hours at the fastest device's peak
#   remedy: Correct the training runs, or say which devices are missing
findings contains {"code": "RF-MISMATCH", "effect": "warn", "fields": ["model.training.runs"]} if {
	weights
	some run in input.model.training.runs
	not plausible(run)
}

plausible(run) if run.exaops == 0

# The fastest device could have done it. One device hour at one TOPS is 3.6 * 10^15 operations, 0.0036 exaops; the
# bounds keep the products in 64 bits.
plausible(run) if {
	run.device_hours <= 100000000000
	some device in run.devices
	device.tops <= 10000000
	run.exaops * 2500 <= (run.device_hours * device.tops) * 9
}

# METADATA
# title: Unsigned training provenance
# custom:
#   code: RF-PROV
#   authority: house
#   cite: House signal; provenance that nobody trusted signed shows nothing
#   remedy: Publish the model with provenance signed by a key that was trusted then
findings contains {"code": "RF-PROV", "effect": "warn", "fields": ["model.provenance"]} if {
	weights
	not input.model.provenance == "verified"
}
