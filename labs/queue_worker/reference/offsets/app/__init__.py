"""Jobs over Kafka: an outbox before the topic, and how far it is read kept in Postgres, beside the jobs."""
