-- What a client's key stands for: a payment or a refund that was asked for. It has ended when status is set.
-- The id is committed before anybody is asked for money; it is also the key that the provider is given, so
-- however often the work is done, and by how many at a time, the provider does it once.
CREATE TABLE IF NOT EXISTS intents (
  id           uuid PRIMARY KEY,
  merchant_id  text NOT NULL,
  key          text NOT NULL,
  fingerprint  text NOT NULL,
  kind         text NOT NULL,
  payment_id   uuid NOT NULL,
  order_id     text NOT NULL,
  amount_cents bigint NOT NULL,
  currency     text NOT NULL,
  source       text,
  charge_id    text,
  begun_at     timestamptz NOT NULL DEFAULT now(),
  tried_at     timestamptz NOT NULL DEFAULT now(),
  status       integer,
  answer       text,
  UNIQUE (merchant_id, key)
) WITH (fillfactor = 70);
-- No index has status in it: to end an intent changes its row in place and touches no page of an index, which
-- a serializable transaction of somebody else may have read.
CREATE INDEX IF NOT EXISTS intents_refunds ON intents (payment_id) WHERE kind = 'refund';
CREATE INDEX IF NOT EXISTS intents_begun ON intents (begun_at);

-- Payments that the provider took, and no others.
CREATE TABLE IF NOT EXISTS payments (
  id           uuid PRIMARY KEY,
  merchant_id  text NOT NULL,
  order_id     text NOT NULL,
  amount_cents bigint NOT NULL,
  currency     text NOT NULL,
  charge_id    text NOT NULL
);

-- Events, in the order of the transactions that wrote them.
CREATE TABLE IF NOT EXISTS events (
  xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
  id         bigint GENERATED ALWAYS AS IDENTITY,
  payment_id uuid NOT NULL,
  value      text NOT NULL,
  PRIMARY KEY (xid, id)
);

-- Up to where they have been published. One row, which the relay that works has locked.
CREATE TABLE IF NOT EXISTS published (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  xid xid8 NOT NULL,
  id  bigint NOT NULL
);
INSERT INTO published (xid, id) VALUES ('0', 0) ON CONFLICT DO NOTHING;
