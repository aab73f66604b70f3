# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tables of the side database. Times are seconds since the epoch (UTC); resource IDs are Orthanc's."""

from peewee import (
    BigAutoField,
    BigIntegerField,
    BlobField,
    BooleanField,
    Check,
    CompositeKey,
    DoubleField,
    ForeignKeyField,
    IntegerField,
    Model,
)
from peewee import TextField as AnyTextField

from dicom_router.deliveries.delivery import Status

STATUSES = ", ".join(f"'{status}'" for status in Status)

# An index on a part of a table serves only queries that name that part in the same words, without parameters. Where
# nothing but the part is asked for, the part is not named by `status`: the planner would take the index of the history.
IS_WAITING = f"status IN ('{Status.SCHEDULED}', '{Status.RETRYING}')"
IS_OF_RESULTS = "results_of > 0"
IS_SENDING = f"status = '{Status.SENDING}'"
HAS_FAILED = "error_code <> ''"


class TextField(AnyTextField):
    """Text as every database takes it: the NUL and the halves of characters that files may hold are left out."""

    def db_value(self, value: object) -> object:
        """What is written, and what is looked for."""
        value = super().db_value(value)  # type: ignore[no-untyped-call]
        return value.replace("\0", "").encode("utf-8", "replace").decode() if isinstance(value, str) else value


class Meta(Model):
    """Facts about this database: its schema's version, and the switches set by hand that outlive a restart."""

    key = TextField(primary_key=True)
    value = TextField()

    class Meta:
        table_name = "meta"


class Cursor(Model):
    """How far the change log has been read (one row)."""

    id = IntegerField(primary_key=True)
    seq = BigIntegerField()  # every row up to here has been acted upon
    settled_seq = BigIntegerField()  # every instance up to here belongs to a resource that has been looked at since
    date = TextField()  # Orthanc's date of the row `seq`, to recognise a change log that was made anew

    class Meta:
        table_name = "cursor"


class Decision(Model):
    """What the rules said about one resource, and why."""

    id = BigAutoField()
    made_at = DoubleField()
    level = TextField()
    resource_id = TextField()
    study_id = TextField(index=True)  # the Orthanc study (for a patient: the patient) it belongs to
    trigger = TextField()
    verdicts = TextField()  # JSON, one object a rule

    class Meta:
        table_name = "decision"


class Delivery(Model):
    """One resource to one destination."""

    id = BigAutoField()
    status = TextField(constraints=[Check(f"status IN ({STATUSES})")])
    reason = TextField(default="")
    rule = TextField(default="")
    rule_version = IntegerField(default=0)
    destination = TextField()
    options = TextField(default="{}")  # JSON: what the rule says differently from the destination
    level = TextField()
    resource_id = TextField()
    study_id = TextField()  # the unit of the ledger: the Orthanc study (for a patient-level delivery, the patient)
    alternates = TextField(default="")  # JSON: who stands in when the destination fails
    failover_at = DoubleField(null=True)  # unreachable until then: the next one takes over
    renew = BooleanField(default=False)  # send everything again, also what the ledger has
    priority = TextField()
    rank = DoubleField()  # place in the queue, lowest first
    due_at = DoubleField()
    ready = BooleanField(default=False)  # due_at has passed; keeps claiming quick however many wait for later
    cancel_asked = BooleanField(default=False)
    owner = TextField(default="")
    lease = TextField(default="")
    lease_until = DoubleField(default=0)

    study_instance_uid = TextField(default="")
    patient_id = TextField(default="")
    patient_name = TextField(default="")
    accession_number = TextField(default="")
    study_date = TextField(default="")
    study_description = TextField(default="")
    modalities = TextField(default="")  # backslash-separated, as DICOM does
    remote_aet = TextField(default="")
    called_aet = TextField(default="")

    content = TextField(default="")  # a mark of the instances that the destination has after it; empty: not known yet
    instances_count = IntegerField(default=0)
    instances_sent = IntegerField(default=0)
    instances_refused = IntegerField(default=0)
    bytes = BigIntegerField(default=0)
    attempts = IntegerField(default=0)
    created_at = DoubleField()
    started_at = DoubleField(null=True)
    completed_at = DoubleField(null=True)
    verified = TextField(default="")
    error_class = TextField(default="")
    error_scope = TextField(default="")
    error_code = TextField(default="")
    error_message = TextField(default="")
    resend_of = BigIntegerField(null=True)
    untold = BooleanField(default=False)  # it failed, and no alert has told so yet
    results_of = BigIntegerField(default=0)  # the delivery to a process whose results these are

    class Meta:
        table_name = "delivery"


class StudyText(Model):
    """What the deliveries of a study are searched by, in lower case: of each study once, whatever was sent of it."""

    study_id = TextField()
    text = TextField()

    class Meta:
        table_name = "study_text"
        primary_key = CompositeKey("study_id", "text")


class Attempt(Model):
    """One try of a delivery."""

    id = BigAutoField()
    delivery = ForeignKeyField(Delivery, backref="attempt_rows", on_delete="CASCADE")
    number = IntegerField()
    started_at = DoubleField()
    ended_at = DoubleField(null=True)
    jobs = TextField(default="[]")  # JSON: the IDs of Orthanc's jobs
    instances_sent = IntegerField(default=0)
    instances_refused = IntegerField(default=0)
    error_class = TextField(default="")
    error_code = TextField(default="")
    error_message = TextField(default="")

    class Meta:
        table_name = "attempt"


class Timeline(Model):
    """What happened to a delivery, for people."""

    id = BigAutoField()
    delivery = ForeignKeyField(Delivery, backref="timeline", on_delete="CASCADE")
    at = DoubleField()
    status = TextField()
    text = TextField()

    class Meta:
        table_name = "timeline"


class Refusal(Model):
    """An instance that a destination refuses for good."""

    id = BigAutoField()
    delivery = ForeignKeyField(Delivery, backref="refusals", on_delete="CASCADE")
    study_id = TextField()
    destination = TextField()
    digest = BlobField()
    instance_id = TextField()
    sop_instance_uid = TextField()
    at = DoubleField()
    code = TextField()
    message = TextField()

    class Meta:
        table_name = "refusal"
        indexes = ((("study_id", "destination"), False),)


class Ledger(Model):
    """The instances of a study that a destination has accepted: one row a chunk, 16 bytes an instance."""

    id = BigAutoField()
    study_id = TextField()
    destination = TextField()
    digests = BlobField()  # in the order of sending
    accepted = IntegerField()  # how many of them, from the first, are known to have been accepted
    job_id = TextField(null=True)  # Orthanc's job while it runs; "" just before it is submitted
    delivery_id = BigIntegerField(null=True)

    class Meta:
        table_name = "ledger"
        indexes = ((("study_id", "destination"), False),)


class Cleanup(Model):
    """A study to be deleted from Orthanc once every destination has it."""

    study_id = TextField(primary_key=True)
    groups = TextField()  # JSON: of each group of destinations, one must have all of the study
    asked_at = DoubleField()

    class Meta:
        table_name = "cleanup"


class Role(Model):
    """A task that one of several Orthancs has at a time."""

    name = TextField(primary_key=True)
    owner = TextField()  # the Orthanc that has it, by the name that stays the same over restarts
    holder = TextField()  # and by the mark of its start
    held_until = DoubleField()
    term = IntegerField(default=1)  # how often it has changed hands

    class Meta:
        table_name = "role"


class Run(Model):
    """What came of a delivery to a process; made again from the start until `finished_at` is set."""

    delivery = ForeignKeyField(Delivery, primary_key=True, on_delete="CASCADE")
    inputs = TextField(default="")  # a mark of what went in
    outcome = TextField(default="[]")  # JSON: pairs of success and message
    output = TextField(default="")  # the end of what the command wrote
    rejected = TextField(default="[]")  # JSON: files of OUTPUT that did not enter Orthanc, and why
    finished_at = DoubleField(null=True)
    followed = BooleanField(default=False)  # the deliveries that follow from it are made

    class Meta:
        table_name = "run"


class Result(Model):
    """An instance that came out of a process. It outlives its run: a rerouted one must not go in again."""

    instance_id = TextField()
    run = BigIntegerField(index=True)
    maker = TextField()  # the process
    owned = BooleanField()  # it entered Orthanc for this run; else it was there before, and stays
    rerouted = BooleanField()  # it is looked at by rules, and stays

    class Meta:
        table_name = "result"
        primary_key = CompositeKey("instance_id", "run")


class RuleVersion(Model):
    """Each version of a rule made over REST; `body` is null where it was deleted."""

    name = TextField()
    version = IntegerField()
    made_at = DoubleField()
    made_by = TextField(default="")
    body = TextField(null=True)  # JSON, in the syntax of orthanc.json

    class Meta:
        table_name = "rule_version"
        primary_key = CompositeKey("name", "version")


class RulePlace(Model):
    """The order of the living rules made over REST."""

    name = TextField(primary_key=True)
    place = IntegerField()
    version = IntegerField()

    class Meta:
        table_name = "rule_place"


class DeliveryTally(Model):
    """How many deliveries one Orthanc has made (Scheduled) and seen end, by rule, destination and state."""

    owner = TextField()
    rule = TextField()
    destination = TextField()
    status = TextField()
    number = IntegerField()
    forgotten = IntegerField(default=0)  # how many of them are no longer in the history, whoever made them

    class Meta:
        table_name = "delivery_tally"
        primary_key = CompositeKey("owner", "rule", "destination", "status")


class AttemptTally(Model):
    """How many attempts one Orthanc has made, how long they took (`bucket`), and what was accepted in them."""

    owner = TextField()
    destination = TextField()
    result = TextField()
    bucket = TextField()  # the bound in seconds that the attempt does not exceed
    number = IntegerField()
    seconds = DoubleField()
    instances = BigIntegerField()
    size = BigIntegerField()  # bytes

    class Meta:
        table_name = "attempt_tally"
        primary_key = CompositeKey("owner", "destination", "result", "bucket")


class DecisionTally(Model):
    """How often a rule has matched, and has not."""

    owner = TextField()
    rule = TextField()
    matched = BooleanField()
    number = IntegerField()

    class Meta:
        table_name = "decision_tally"
        primary_key = CompositeKey("owner", "rule", "matched")


class AlertTold(Model):
    """What one Orthanc has told of a matter last."""

    owner = TextField()
    kind = TextField()
    subject = TextField()
    active = BooleanField()
    at = DoubleField()  # when its beginning was told

    class Meta:
        table_name = "alert_told"
        primary_key = CompositeKey("owner", "kind", "subject")


class AlertNews(Model):
    """Something that has yet to be told on some channels. No patient data: deliveries are named by their IDs."""

    id = BigAutoField()
    owner = TextField()
    at = DoubleField()
    kind = TextField()
    subject = TextField()
    state = TextField()
    text = TextField()
    deliveries = TextField()  # JSON: IDs
    channels = TextField()  # JSON: those that have yet to carry it

    class Meta:
        table_name = "alert_news"


class Heard(Model):
    """When something was last received from an AE title, or, before that, since when it is waited for."""

    aet = TextField(primary_key=True)
    at = DoubleField()

    class Meta:
        table_name = "heard"


TABLES: tuple[type[Model], ...] = (
    Meta,
    Cursor,
    Decision,
    Delivery,
    StudyText,
    Attempt,
    Timeline,
    Refusal,
    Ledger,
    Cleanup,
    Role,
    Run,
    Result,
    RuleVersion,
    RulePlace,
    DeliveryTally,
    AttemptTally,
    DecisionTally,
    AlertTold,
    AlertNews,
    Heard,
)

# Partial indexes keep the queue's cost independent of the history's size.
INDEXES = (
    f"CREATE INDEX delivery_claim ON delivery (destination, rank) WHERE {IS_WAITING} AND ready",
    "CREATE INDEX delivery_due ON delivery (due_at) WHERE NOT ready AND completed_at IS NULL",
    "CREATE INDEX delivery_failover ON delivery (failover_at) WHERE failover_at IS NOT NULL AND completed_at IS NULL",
    # Unique: two Orthancs cannot begin to send a study to the same destination at once.
    f"CREATE UNIQUE INDEX delivery_sending ON delivery (status, destination, study_id) WHERE {IS_SENDING}",
    f"CREATE INDEX delivery_waiting ON delivery (resource_id, destination) WHERE {IS_WAITING}",
    # Holds all that the metrics ask of what has not ended; completed_at too, or SQLite would look it up in the table.
    "CREATE INDEX delivery_open ON delivery (destination, rule, status, created_at, completed_at) "
    "WHERE completed_at IS NULL",
    "CREATE INDEX delivery_untold ON delivery (destination, id) WHERE untold",
    "CREATE INDEX delivery_study ON delivery (study_id)",
    "CREATE INDEX delivery_study_uid ON delivery (study_instance_uid)",
    "CREATE INDEX delivery_patient ON delivery (patient_id)",
    "CREATE INDEX delivery_accession ON delivery (accession_number)",
    "CREATE INDEX delivery_status ON delivery (status, id)",
    "CREATE INDEX delivery_destination ON delivery (destination, id)",
    "CREATE INDEX delivery_destination_status ON delivery (destination, status, id)",
    "CREATE INDEX delivery_rule ON delivery (rule, id)",
    "CREATE INDEX delivery_created ON delivery (created_at, id)",
    "CREATE INDEX delivery_completed ON delivery (completed_at, status) WHERE completed_at IS NOT NULL",
    f"CREATE INDEX delivery_failed ON delivery (id) WHERE {HAS_FAILED}",
    f"CREATE INDEX delivery_results ON delivery (results_of) WHERE {IS_OF_RESULTS}",
    f"CREATE INDEX attempt_failed ON attempt (id) WHERE {HAS_FAILED}",
    "CREATE INDEX ledger_job ON ledger (job_id) WHERE job_id IS NOT NULL",
)
