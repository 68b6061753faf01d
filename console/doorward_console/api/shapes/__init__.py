"""The shapes of the API's bodies and answers, as OpenAPI shows them, by subject. Times are ISO 8601 in UTC."""
