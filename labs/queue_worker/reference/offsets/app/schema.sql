-- Ids and keys are bytes: Postgres' text has no U+0000, JSON's strings do.
CREATE TABLE IF NOT EXISTS job (
  id         bytea PRIMARY KEY,
  key        bytea NOT NULL,
  status     text NOT NULL DEFAULT 'queued',
  attempts   integer NOT NULL DEFAULT 0,
  error      text,
  -- No retry would help, or none is left: what is missing is the dead letter.
  hopeless   boolean NOT NULL DEFAULT false,
  -- The attempt that runs, and until when nobody else may begin one.
  attempt    uuid,
  busy_until timestamptz NOT NULL DEFAULT 'epoch',
  -- When the next attempt may begin.
  due_at     timestamptz NOT NULL DEFAULT 'epoch'
);

-- Jobs that were promised and are not on the topic yet.
CREATE TABLE IF NOT EXISTS outbox (
  number bigserial PRIMARY KEY,
  key    bytea NOT NULL,
  value  bytea NOT NULL
);

-- How far each partition has been done, and whose it is: the worker that has raised `epoch` last.
CREATE TABLE IF NOT EXISTS reading (
  consumers   text NOT NULL,
  topic       text NOT NULL,
  partition   integer NOT NULL,
  epoch       bigint NOT NULL DEFAULT 1,
  next_offset bigint,
  PRIMARY KEY (consumers, topic, partition)
);
