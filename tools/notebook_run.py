"""Runs the notebook on standard input in a fresh Deno kernel and prints its cells and what failed as JSON.

usage: notebook_run.py FOLDER SECONDS_PER_CELL [--allow-errors] < NOTEBOOK
"""

import asyncio
import json
import re
import sys
from subprocess import DEVNULL

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete
from nbformat.v4 import new_output
from nbformat.v4.rwbase import split_lines

# Type of the message that marks the end of an execution's output.
FENCE = "smallkv_fence"
# Time that an interrupted cell has for ending.
GRACE_SECONDS = 3


class KernelGone(Exception):
    """The kernel has ended, or does not stop when interrupted."""


async def collect(client, request, cell, index):
    """Stores what a request publishes.

    The kernel says "idle" before its last outputs. A second, silent request goes through the same queue as the
    outputs, so what it publishes arrives after all of them; outputs that overlap with it bear its name.
    """
    fence = None
    while True:
        message = await client.kc.get_iopub_msg()
        parent, kind = message["parent_header"].get("msg_id"), message["msg_type"]
        if parent == request:
            try:
                client.process_message(message, cell, index)
            except CellExecutionComplete:
                code = f'Deno.jupyter.broadcast("{FENCE}", {{}})'
                fence = client.kc.execute(code, silent=True, store_history=False)
        elif fence is None or parent != fence:
            continue
        elif kind == FENCE:
            return
        elif kind not in ("status", "execute_input"):
            client.process_message(message, cell, index)


async def reply_to(client, request):
    while True:
        reply = await client.kc.get_shell_msg()
        if reply["parent_header"].get("msg_id") == request:
            return reply["content"]


async def end_of(client):
    while (code := await client.km.provisioner.poll()) is None:
        await asyncio.sleep(0.05)
    return code


async def execute(client, cell, index, limit):
    """Runs a cell; what went wrong, or an empty text."""
    request = client.kc.execute(cell.source, stop_on_error=False)
    work = asyncio.ensure_future(
        asyncio.gather(collect(client, request, cell, index), reply_to(client, request))
    )
    ended = asyncio.ensure_future(end_of(client))
    waiting = {"fs": {work, ended}, "return_when": asyncio.FIRST_COMPLETED}
    failure = ""
    try:
        done, _ = await asyncio.wait(**waiting, timeout=limit)
        if not done:
            failure = f"The cell ran longer than {limit:g} s"
            await client.km.interrupt_kernel()
            done, _ = await asyncio.wait(**waiting, timeout=GRACE_SECONDS)
        if ended in done:
            raise KernelGone(f"The kernel ended with code {ended.result()}")
        if not done:
            raise KernelGone(failure)
        _, reply = work.result()
    finally:
        work.cancel()
        ended.cancel()
    for output in cell.outputs:
        if output.output_type == "error":
            failure = failure or f"{output.ename}: {output.evalue}"
    # Code that does not compile is told of in the reply only.
    if reply["status"] == "error":
        failure = failure or "The code did not compile or was interrupted"
    return failure


async def run(client, limit, allow_errors):
    """Runs all cells, up to the first that fails unexpectedly; what failed."""
    failures = []
    cells = [(index, cell) for index, cell in enumerate(client.nb.cells) if cell.cell_type == "code"]
    for _, cell in cells:
        cell.outputs, cell.execution_count = [], None
    for index, cell in cells:
        client.clear_before_next_output = False
        if cell.source.strip() == "":
            continue
        is_dead = False
        try:
            failure = await execute(client, cell, index, limit)
        except KernelGone as error:
            failure, is_dead = str(error), True
        if failure and all(output.output_type != "error" for output in cell.outputs):
            error = new_output("error", ename="RunError", evalue=failure, traceback=[failure])
            cell.outputs.append(error)
        if failure and "raises-exception" not in cell.metadata.get("tags", []):
            failures.append(f"cell {index}: {failure}")
        if is_dead or (failures and not allow_errors):
            break
    return failures


def tidy(outputs):
    """Joins pieces of text, drops what a carriage return has overwritten, and puts errors, which overtake text, last."""
    joined = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if output.output_type == "stream" and last.get("name") == output.name:
            last["text"] += output.text
        else:
            joined.append(output)
    for output in joined:
        if output.output_type == "stream":
            output.text = re.sub(r"^.*\r(?!\n)", "", output.text, flags=re.MULTILINE)
    return sorted(joined, key=lambda output: output.output_type == "error")


async def main(folder, limit, *flags):
    notebook = nbformat.from_dict(json.load(sys.stdin))
    for cell in notebook.cells:
        cell.source = "".join(cell.source)
    client = NotebookClient(
        notebook,
        kernel_name="deno",
        startup_timeout=120,
        record_timing=False,
        resources={"metadata": {"path": folder}},
    )
    # What a kernel writes to its own streams is no output of a cell.
    async with client.async_setup_kernel(stdout=DEVNULL, stderr=DEVNULL):
        failures = await run(client, float(limit), "--allow-errors" in flags)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = tidy(cell.outputs)
    json.dump({"cells": split_lines(notebook).cells, "failures": failures}, sys.stdout)


asyncio.run(main(*sys.argv[1:]))
