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

bench: ## every figure as one table, in under ten minutes; asserts nothing about time
	.venv/bin/python -m tests.bench

openapi: ## after a change of a route
	.venv/bin/python -c "import json, main; print(json.dumps(main.create_app().openapi(), indent=2, ensure_ascii=False))" > docs/openapi.json
