"""The contract: what OpenAPI says, held against generated requests of every role."""
