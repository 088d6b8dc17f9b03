# What may be asked of the OPA server beside a gateway: its decisions, and what it has loaded.
#
# OPA runs with `--authentication=token --authorization=basic` and `--set-file labels.gateway=FILE`, where FILE has the
# SHA-256, in hex, of the gateway's token: OPA holds no secret. Nobody may write through the REST API: the policy
# comes by the bundle that the gateway writes.
package system.authz

default allow := false

allow if {
	input.method == "GET"
	input.path == ["health"]
}

allow if {
	crypto.sha256(input.identity) == trim_space(opa.runtime().config.labels.gateway)
	asked[input.method][concat("/", input.path)]
}

asked := {
	"POST": {"v1/data/tdz/served/answer", "v1/data/tdz/served/policy"},
	"GET": {"v1/policies", "v1/data"},
}
