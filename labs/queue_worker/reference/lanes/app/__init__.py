"""Jobs over Kafka: an API that takes them and workers that deliver them, a lane for each key."""
