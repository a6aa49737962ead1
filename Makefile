.PHONY: run check config format openapi bench

run:
	./setup_wallet.sh run

check: ## what CI runs
	./setup_wallet.sh test

config:
	./setup_wallet.sh check

format:
	.venv/bin/python -m ruff format .
	.venv/bin/python -m ruff check --fix .

bench: ## prints figures; asserts nothing about time
	.venv/bin/python -m tests.bench.ledger --callers 32 --rounds 1 --seconds 5
	.venv/bin/python -m tests.bench.callbacks --calls 1000 --rounds 1
	.venv/bin/python -m tests.bench.webhooks --count 1000
	.venv/bin/python -m tests.bench.history --entries 100000 --wallets 100

openapi: ## after a change of a route
	.venv/bin/python -c "import json, main; print(json.dumps(main.create_app().openapi(), indent=2, ensure_ascii=False))" > docs/openapi.json
