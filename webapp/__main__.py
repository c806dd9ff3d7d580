"""The commands: `python -m webapp serve`, the two it starts, pool and engine, and those for operators."""

import argparse
import logging.config
import sys
from pathlib import Path

from webapp.catalog import CatalogError, ModelNotFound
from webapp.log_format import logging_config
from webapp.settings import SettingInvalid, Settings, make_folders, read_settings

# The web's own commands: what follows their names is read there.
WEB_COMMANDS = {
    "create-token": "make an API token and print it, once",
    "list-tokens": "list the API tokens: what each may do, when it was used, until when it works",
    "revoke-token": "revoke an API token, or all of a name",
    "list-links": "list the shared links, without what they show",
    "list-reports": "list the shared links that readers have reported, and why",
    "take-down": "delete what a shared link shows, by its slug or its address",
}


def main(arguments: list[str] | None = None) -> None:
    """Run one command. A wrong setting or catalogue ends it with a sentence and status 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    is_web_command = bool(arguments) and arguments[0] in WEB_COMMANDS
    options = _parser().parse_args(arguments[:1] if is_web_command else arguments)
    try:
        settings = read_settings()
        make_folders(settings)
        if is_web_command:
            _run_web_command(arguments, settings)
        else:
            logging.config.dictConfig(logging_config(settings))
            _run(options, settings)
    except (SettingInvalid, CatalogError, ModelNotFound) as error:
        sys.exit(_complain(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m webapp", description="Jeton streams answers of language models.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="start everything: the pool, its engines and the web processes")
    commands.add_parser("pool", help="the pool process; serve starts it")
    commands.add_parser("audit", help="check that every accepted generation is whole; exit status 1 where one is not")
    keys = commands.add_parser("add-engine", help="let an engine on another machine join: write its keys to a folder")
    keys.add_argument("name", help="what the engine is called; its file in the folder of keys")
    keys.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="bring this folder to that machine")
    join = commands.add_parser("join", help="one engine process for a pool on another machine")
    join.add_argument("--model", required=True, help="the entry of this machine's catalogue, and of the pool's")
    join.add_argument("--pool", required=True, metavar="ADDRESS", help="the pool's JETON_JOIN_ADDRESS")
    join.add_argument("--keys", type=Path, required=True, metavar="FOLDER", help="what add-engine has written")
    for name, what in WEB_COMMANDS.items():
        commands.add_parser(name, help=what)
    engine = commands.add_parser("engine", help="one engine process; the pool starts it")
    engine.add_argument("--model", required=True)
    engine.add_argument("--engine-id", required=True)
    engine.add_argument("--device", help="cpu or cuda:N; without it, what JETON_DEVICE says")
    engine.add_argument("--slots", type=int, help="generations at once; without it, what the entry says")
    return parser


def _run(options: argparse.Namespace, settings: Settings) -> None:
    # Each process imports its own folder only: torch stays out of the pool, Flask out of the engine.
    match options.command:
        case "serve":
            from webapp import supervisor

            supervisor.main(settings)
        case "pool":
            from webapp.pool import process as pool_process

            pool_process.main(settings)
        case "audit":
            from webapp.pool import audit

            sys.exit(audit.main(settings))
        case "add-engine":
            from webapp import engine_keys

            engine_keys.create_engine_keys(settings.keys_dir, options.name, target=options.to)
        case "engine":
            from webapp.engine import process as engine_process

            engine_process.main(
                settings, options.model, engine_id=options.engine_id, device=options.device, slots=options.slots
            )
        case "join":
            from webapp.engine import process as engine_process

            engine_process.join(settings, model=options.model, pool_address=options.pool, keys_folder=options.keys)


def _run_web_command(arguments: list[str], settings: Settings) -> None:
    # For its own process only, as above.
    from webapp.web import cli
    from webapp.web.create_app import create_app

    cli.run_command(create_app(settings), arguments)


def _complain(error: Exception) -> int:
    print(f"jeton: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
