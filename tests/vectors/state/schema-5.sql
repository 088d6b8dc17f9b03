CREATE TABLE participants (
	id VARCHAR(63) NOT NULL,
	facts TEXT NOT NULL,
	updated_at BIGINT NOT NULL,
	PRIMARY KEY (id)
);

CREATE TABLE certificates (
	fingerprint VARCHAR(64) NOT NULL,
	serial VARCHAR(64) NOT NULL,
	uri VARCHAR(300) NOT NULL,
	key_fingerprint VARCHAR(64) NOT NULL,
	not_before BIGINT NOT NULL,
	not_after BIGINT NOT NULL,
	issued_at BIGINT NOT NULL,
	revoked_at BIGINT NOT NULL,
	reason VARCHAR(200) NOT NULL,
	pem TEXT NOT NULL,
	PRIMARY KEY (fingerprint)
);

CREATE INDEX ix_certificates_uri ON certificates (uri);

CREATE TABLE enrolment_approvals (
	uri VARCHAR(300) NOT NULL,
	key_fingerprint VARCHAR(64) NOT NULL,
	approver VARCHAR(300) NOT NULL,
	approved_at BIGINT NOT NULL,
	PRIMARY KEY (uri, key_fingerprint, approver)
);

CREATE TABLE act_approvals (
	act VARCHAR(64) NOT NULL,
	approver VARCHAR(300) NOT NULL,
	approved_at BIGINT NOT NULL,
	PRIMARY KEY (act, approver)
);

CREATE TABLE pairings (
	zone VARCHAR(63) NOT NULL,
	card BLOB NOT NULL,
	fingerprint VARCHAR(64) NOT NULL,
	serial BIGINT NOT NULL,
	paired_at BIGINT NOT NULL,
	unpaired_at BIGINT NOT NULL,
	PRIMARY KEY (zone)
);

CREATE TABLE mechanisms (
	ref VARCHAR(128) NOT NULL,
	document TEXT NOT NULL,
	added_at BIGINT NOT NULL,
	withdrawn_at BIGINT NOT NULL,
	PRIMARY KEY (ref)
);

CREATE TABLE policy_approvals (
	bundle VARCHAR(64) NOT NULL,
	approver VARCHAR(300) NOT NULL,
	fingerprint VARCHAR(64) NOT NULL,
	document TEXT NOT NULL,
	approved_at BIGINT NOT NULL,
	PRIMARY KEY (bundle, approver)
);

CREATE TABLE policy_activations (
	seq BIGINT NOT NULL,
	entry_id VARCHAR(36) NOT NULL,
	policy VARCHAR(64) NOT NULL,
	part VARCHAR(100) NOT NULL,
	bundle VARCHAR(64) NOT NULL,
	revision BIGINT NOT NULL,
	document TEXT NOT NULL,
	activated_at BIGINT NOT NULL,
	PRIMARY KEY (seq),
	UNIQUE (entry_id)
);

CREATE TABLE policy_cursor (
	id INTEGER NOT NULL,
	size BIGINT NOT NULL,
	PRIMARY KEY (id)
);

CREATE TABLE decision_inputs (
	decision_id VARCHAR(36) NOT NULL,
	input TEXT NOT NULL,
	decision TEXT NOT NULL,
	salt BLOB NOT NULL,
	decided_at BIGINT NOT NULL,
	PRIMARY KEY (decision_id)
);

CREATE INDEX ix_decision_inputs_decided_at ON decision_inputs (decided_at);

CREATE TABLE decision_log_due (
	decision_id VARCHAR(36) NOT NULL,
	PRIMARY KEY (decision_id)
);

CREATE TABLE resources (
	name VARCHAR(100) NOT NULL,
	owner VARCHAR(300) NOT NULL,
	version VARCHAR(64) NOT NULL,
	description TEXT NOT NULL,
	published_at BIGINT NOT NULL,
	PRIMARY KEY (name)
);

CREATE TABLE peer_cards (
	zone VARCHAR(63) NOT NULL,
	name VARCHAR(100) NOT NULL,
	envelope TEXT NOT NULL,
	fetched_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	PRIMARY KEY (zone, name)
);

CREATE TABLE negotiations (
	id VARCHAR(36) NOT NULL,
	side VARCHAR(8) NOT NULL,
	participant VARCHAR(300) NOT NULL,
	request_id VARCHAR(128) NOT NULL,
	body_digest VARCHAR(64) NOT NULL,
	peer_zone VARCHAR(63) NOT NULL,
	resource VARCHAR(100) NOT NULL,
	purpose VARCHAR(40) NOT NULL,
	state VARCHAR(16) NOT NULL,
	held_by VARCHAR(100) NOT NULL,
	effect VARCHAR(8) NOT NULL,
	deadline BIGINT NOT NULL,
	document TEXT NOT NULL,
	agreement_id VARCHAR(36) NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT one_body_per_request_id UNIQUE (side, participant, request_id)
);

CREATE INDEX ix_negotiations_state ON negotiations (state);

CREATE INDEX ix_negotiations_participant ON negotiations (participant);

CREATE TABLE agreements (
	id VARCHAR(36) NOT NULL,
	side VARCHAR(8) NOT NULL,
	negotiation_id VARCHAR(36) NOT NULL,
	peer_zone VARCHAR(63) NOT NULL,
	consumer VARCHAR(300) NOT NULL,
	provider VARCHAR(300) NOT NULL,
	resource VARCHAR(100) NOT NULL,
	version VARCHAR(64) NOT NULL,
	state VARCHAR(16) NOT NULL,
	envelope TEXT NOT NULL,
	card TEXT NOT NULL,
	confirm_before BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	pulls INTEGER NOT NULL,
	rows BIGINT NOT NULL,
	bytes BIGINT NOT NULL,
	peer_ticket VARCHAR(100) NOT NULL,
	peer_ticket_until BIGINT NOT NULL,
	reason VARCHAR(300) NOT NULL,
	persons_non_sensitive BIGINT NOT NULL,
	persons_sensitive BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX ix_agreements_consumer ON agreements (consumer);

CREATE TABLE exports (
	exporter VARCHAR(300) NOT NULL,
	year INTEGER NOT NULL,
	version VARCHAR(64) NOT NULL,
	non_sensitive BIGINT NOT NULL,
	sensitive BIGINT NOT NULL,
	transfer_id VARCHAR(36) NOT NULL,
	PRIMARY KEY (exporter, year, version)
);

CREATE TABLE transfers (
	id VARCHAR(36) NOT NULL,
	side VARCHAR(8) NOT NULL,
	agreement_id VARCHAR(36) NOT NULL,
	participant VARCHAR(300) NOT NULL,
	peer_zone VARCHAR(63) NOT NULL,
	state VARCHAR(16) NOT NULL,
	version VARCHAR(64) NOT NULL,
	"view" VARCHAR(64) NOT NULL,
	manifest TEXT NOT NULL,
	first_chunk BIGINT NOT NULL,
	chunks BIGINT NOT NULL,
	rows BIGINT NOT NULL,
	bytes BIGINT NOT NULL,
	reason VARCHAR(300) NOT NULL,
	receipt TEXT NOT NULL,
	peer_receipt TEXT NOT NULL,
	deadline BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX ix_transfers_participant ON transfers (participant);

CREATE INDEX ix_transfers_state ON transfers (state);

CREATE INDEX ix_transfers_agreement_id ON transfers (agreement_id);

CREATE TABLE tickets (
	digest VARCHAR(64) NOT NULL,
	holder VARCHAR(300) NOT NULL,
	fingerprint VARCHAR(64) NOT NULL,
	agreement_id VARCHAR(36) NOT NULL,
	transfer_id VARCHAR(36) NOT NULL,
	"view" VARCHAR(64) NOT NULL,
	first_chunk BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	spent_at BIGINT NOT NULL,
	PRIMARY KEY (digest)
);

CREATE INDEX ix_tickets_expires_at ON tickets (expires_at);

CREATE TABLE outbox (
	id VARCHAR(36) NOT NULL,
	kind VARCHAR(20) NOT NULL,
	peer_zone VARCHAR(63) NOT NULL,
	subject VARCHAR(100) NOT NULL,
	payload TEXT NOT NULL,
	attempts INTEGER NOT NULL,
	next_at BIGINT NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX outbox_due ON outbox (next_at);

CREATE TABLE reviews (
	id VARCHAR(36) NOT NULL,
	kind VARCHAR(8) NOT NULL,
	negotiation_id VARCHAR(36) NOT NULL,
	holder VARCHAR(8) NOT NULL,
	owner VARCHAR(300) NOT NULL,
	participant VARCHAR(300) NOT NULL,
	peer_zone VARCHAR(63) NOT NULL,
	resource VARCHAR(100) NOT NULL,
	purpose VARCHAR(40) NOT NULL,
	decision_id VARCHAR(36) NOT NULL,
	basis TEXT NOT NULL,
	needed INTEGER NOT NULL,
	state VARCHAR(10) NOT NULL,
	note TEXT NOT NULL,
	deadline BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	closed_at BIGINT NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX ix_reviews_state ON reviews (state);

CREATE INDEX ix_reviews_negotiation_id ON reviews (negotiation_id);

CREATE TABLE review_votes (
	review_id VARCHAR(36) NOT NULL,
	"by" VARCHAR(300) NOT NULL,
	fingerprint VARCHAR(64) NOT NULL,
	verdict VARCHAR(8) NOT NULL,
	note TEXT NOT NULL,
	salt VARCHAR(64) NOT NULL,
	entry_id VARCHAR(36) NOT NULL,
	at BIGINT NOT NULL,
	PRIMARY KEY (review_id, "by")
);

CREATE TABLE runs (
	id VARCHAR(36) NOT NULL,
	side VARCHAR(11) NOT NULL,
	participant VARCHAR(300) NOT NULL,
	request_id VARCHAR(128) NOT NULL,
	body_digest VARCHAR(64) NOT NULL,
	peer_zone VARCHAR(63) NOT NULL,
	state VARCHAR(10) NOT NULL,
	spec TEXT NOT NULL,
	round INTEGER NOT NULL,
	bytes_out BIGINT NOT NULL,
	bytes_in BIGINT NOT NULL,
	deadline BIGINT NOT NULL,
	told INTEGER NOT NULL,
	reason VARCHAR(300) NOT NULL,
	agreement TEXT NOT NULL,
	outcome VARCHAR(64) NOT NULL,
	model VARCHAR(100) NOT NULL,
	document TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT one_run_per_request_id UNIQUE (side, participant, request_id)
);

CREATE INDEX ix_runs_state ON runs (state);

CREATE INDEX ix_runs_participant ON runs (participant);

CREATE TABLE run_parts (
	run_id VARCHAR(36) NOT NULL,
	round INTEGER NOT NULL,
	direction VARCHAR(3) NOT NULL,
	digest VARCHAR(64) NOT NULL,
	bytes BIGINT NOT NULL,
	statement TEXT NOT NULL,
	PRIMARY KEY (run_id, round, direction)
);

CREATE TABLE run_rounds (
	run_id VARCHAR(36) NOT NULL,
	round INTEGER NOT NULL,
	document TEXT NOT NULL,
	milliseconds BIGINT NOT NULL,
	bytes BIGINT NOT NULL,
	PRIMARY KEY (run_id, round)
);

CREATE TABLE model_signers (
	fingerprint VARCHAR(64) NOT NULL,
	name VARCHAR(200) NOT NULL,
	pem TEXT NOT NULL,
	added_at BIGINT NOT NULL,
	removed_at BIGINT NOT NULL,
	PRIMARY KEY (fingerprint)
);

CREATE TABLE pending (
	entry_id VARCHAR(36) NOT NULL,
	flow VARCHAR(40) NOT NULL,
	subject VARCHAR(100) NOT NULL,
	payload TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (entry_id)
);

PRAGMA user_version = 5;
