"""The command ``score``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lambda_star._core.text import shown
from lambda_star.cli._files import check_outputs, forced, writable
from lambda_star.cli._output import (
    Stopped,
    as_failure,
    contract_option,
    json_option,
    need_models,
    output_option,
    write_json,
)

if TYPE_CHECKING:
    from lambda_star.contract import Contract
    from lambda_star.torch.scoring import Source

__all__ = ["score"]

MODEL_HELP = """\
Folder of a Hugging Face causal language model or of a PEFT adapter, a .gguf file, or a name on the Hugging Face hub."""

UNDER_HELP = "Model that adapters are for, where their settings do not say where it is."

PROMPTS_HELP = """\
Prompts: .jsonl or .json (texts, lists of messages, or objects with prompt, messages or text), .txt (one on each line),
.csv or .parquet. A prompt becomes a user's message where the tokenizer has a chat template, which is also given the
tools that stand beside it; a text is sent as it is."""

OUT_HELP = "Table to write, a .parquet, .csv or .jsonl file. Its answers are kept beside it, in OUT.answers.jsonl."

FROM_HELP = """\
Where the answers come from: base, teacher, a lambda (their mixture), or a .jsonl file of answers with tokens or text,
and with prompt or messages unless --prompts has them line by line."""

DTYPES = click.Choice(["float32", "float64", "bfloat16", "float16"])

KEPT = "what is finished is kept in {path}, and the same command goes on from there"


@click.command(short_help="Score two models on sampled answers: the table for calibrate.")
@click.option("--teacher", required=True, metavar="MODEL", help=MODEL_HELP)
@click.option("--base", required=True, metavar="MODEL", help="The same for the base.")
@click.option("--prompts", type=click.Path(path_type=Path), help=PROMPTS_HELP)
@contract_option(required=True)
@output_option("--out", kind="table", required=True, help=OUT_HELP)
@click.option("--from", "source", default="base", metavar="SOURCE", help=FROM_HELP)
@click.option("--model", metavar="MODEL", help=UNDER_HELP)
@click.option("--answers", type=click.IntRange(min=1), help="Number of answers; by default one per prompt.")
@click.option("--batch", type=click.IntRange(min=1), default=16, help="Answers that run side by side.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=256, help="The most tokens of an answer.")
@click.option("--dtype", type=DTYPES, default="float32", help="Dtype in which the models compute.")
@click.option("--device", default="cpu", help="Where the models run, for instance cuda.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of the sampling.")
@click.option("--trust-remote-code", is_flag=True, help="Let Python code that comes with a model run.")
@json_option()
def score(
    teacher: str,
    base: str,
    prompts: Path | None,
    contract: Contract,
    out: Path,
    source: str,
    model: str | None,
    dtype: str,
    device: str,
    trust_remote_code: bool,
    json_path: Path | None,
    **options: Any,
) -> None:
    """Sample answers and score every position with both models: the table that `calibrate` reads.

    \b
    Examples:
      lambda-star score --teacher runs/teacher --base runs/base --prompts prompts.jsonl --contract json --out rows.csv
      lambda-star calibrate rows.csv --lam 1.25

    A run that is cut, by Ctrl-C for instance, goes on when the same command is given again.
    """  # noqa: D301 (click wants the character \b)
    kept = out.with_name(f"{out.name}.answers.jsonl")
    check_outputs({"the file of answers": kept}, "answers")
    with as_failure(ImportError, OSError, RuntimeError, ValueError):
        need_models()
        from lambda_star.calibration.writers import table_writer, write_table
        from lambda_star.cli._progress import progress
        from lambda_star.torch import load_pair, read_prompts
        from lambda_star.torch.scoring import score as run

        table_writer(out)
        asked = read_prompts(prompts) if prompts else []
        found = _source(source, asked)
        where: dict[str, Any] = {"model": model, "dtype": dtype, "device": device}
        try:
            with progress("answers") as show:
                pair = load_pair(teacher, base, trust_remote_code=trust_remote_code, **where)
                table = run(pair, asked, contract, source=found, path=kept, progress=show, **options)
        except KeyboardInterrupt as error:
            raise Stopped(error, KEPT.format(path=kept)) from error
    with writable(out):
        write_table(table, out, force=forced())
    inside = 0 if table.contract is None else sum(map(bool, table.contract))
    counts = {"answers": len(set(table.sequence.tolist())), "positions": len(table.modal), "contract": inside}
    said = "wrote {}: {positions} positions of {answers} answers, {contract} of them in the contract"
    click.echo(shown(said.format(out, **counts)))
    if not inside:
        said = f"no answer gets as far as a position of {contract.name}; read the answers in {kept}"
        click.echo(shown(said), err=True)
    write_json(json_path, "score", {"out": str(out), **counts})


def _source(text: str, prompts: list[Any]) -> Source:
    """What a text says of the source of answers."""
    if text.endswith((".jsonl", ".ndjson")):
        from lambda_star.torch.answers import read_answers

        return read_answers(text, prompts)
    if not prompts:
        raise ValueError("--prompts must be given, unless --from is a file of answers")
    return text
