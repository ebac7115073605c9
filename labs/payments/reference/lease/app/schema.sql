-- What a client's key stands for. It is in progress while status is null: somebody's, until locked_until.
-- subject is the id of the payment or refund, drawn before anybody is asked for money; it is also the key
-- that the provider is given, so however often the work is begun, the provider does it once.
CREATE TABLE IF NOT EXISTS keys (
  merchant_id  text NOT NULL,
  key          text NOT NULL,
  fingerprint  bytea NOT NULL,
  subject      uuid NOT NULL,
  owner        uuid NOT NULL,
  locked_until timestamptz NOT NULL,
  status       smallint,
  answer       text,
  PRIMARY KEY (merchant_id, key)
);

-- Payments that the provider took, and no others. reserved_cents: refunds that have begun and not ended.
CREATE TABLE IF NOT EXISTS payments (
  id             uuid PRIMARY KEY,
  merchant_id    text NOT NULL,
  order_id       text NOT NULL,
  amount_cents   bigint NOT NULL,
  currency       text NOT NULL,
  charge_id      text NOT NULL,
  refunded_cents bigint NOT NULL DEFAULT 0 CHECK (refunded_cents >= 0),
  reserved_cents bigint NOT NULL DEFAULT 0 CHECK (reserved_cents >= 0),
  CHECK (refunded_cents + reserved_cents <= amount_cents)
);

-- provider_id is null until the provider has done it.
CREATE TABLE IF NOT EXISTS refunds (
  id           uuid PRIMARY KEY,
  payment_id   uuid NOT NULL REFERENCES payments,
  amount_cents bigint NOT NULL,
  provider_id  text
);

-- Events, written in the transaction of what they tell of. Each row is marked by itself: ids are drawn before
-- COMMIT, so a smaller id may become visible after a larger one.
CREATE TABLE IF NOT EXISTS outbox (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  payment_id   uuid NOT NULL,
  value        text NOT NULL,
  published_at timestamptz
);

CREATE INDEX IF NOT EXISTS outbox_unpublished ON outbox (payment_id, id) WHERE published_at IS NULL;
