"""Proves the same networks on the same input with `assay` and with EZKL, one after the other, on the same cores, and prints the
figures side by side.

    python3 tests/zk/bench.py --assay PATH [--runs N] [--models mlp,lenet] [--without-peer] [--write docs/benchmarks.md]

Each stage of the peer is a process of its own, so that its CPU seconds and its peak memory are its own; `assay zk bench`
says the same of itself. The peer's parameters (its SRS) are made here, before the clock starts, and are not counted.
Both verifiers hold no weights: the peer's are fixed in its key, ours are committed.
"""

import argparse
import asyncio
import datetime
import inspect
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- bench-zk: begin -->", "<!-- bench-zk: end -->"
PEER = ["settings", "calibrate", "compile", "parameters", "witness", "setup", "prove", "verify"]
SYSTEMS = ["sumcheck", "sumcheck-hiding", "groth16", "halo2"]


def peer_stage(stage, model, sample, work):
    """One step of EZKL's flow; run in a process of its own."""
    import ezkl

    at = {name: str(work / file) for name, file in dict(
        settings="settings.json", compiled="network.ezkl", witness="witness.json", pk="pk.key", vk="vk.key", proof="proof.json").items()}
    # Parameters are kept beside the work folders: they depend on the circuit's size alone.
    srs = ""
    if stage not in ("settings", "calibrate", "compile"):
        rows = json.loads((work / "settings.json").read_text())["run_args"]["logrows"]
        srs = str(work.parent / f"kzg{rows}.srs")

    async def call(function, *arguments, **named):
        # Over its releases the peer made some functions asynchronous and some not.
        found = function(*arguments, **named)
        return await found if inspect.isawaitable(found) else found

    def settings():
        arguments = ezkl.PyRunArgs()
        arguments.input_visibility = arguments.output_visibility = "public"
        arguments.param_visibility = "fixed"
        return call(ezkl.gen_settings, model, at["settings"], py_run_args=arguments)

    async def parameters():
        if not os.path.exists(srs):
            await call(ezkl.gen_srs, srs, rows)
        return True

    steps = {
        "settings": settings,
        "calibrate": lambda: call(ezkl.calibrate_settings, sample, model, at["settings"], "resources", max_logrows=20),
        "compile": lambda: call(ezkl.compile_circuit, model, at["compiled"], at["settings"]),
        "parameters": parameters,
        "witness": lambda: call(ezkl.gen_witness, sample, at["compiled"], at["witness"], None, srs),
        "setup": lambda: call(ezkl.setup, at["compiled"], at["vk"], at["pk"], srs),
        "prove": lambda: call(ezkl.prove, at["witness"], at["compiled"], at["pk"], at["proof"], srs),
        "verify": lambda: call(ezkl.verify, at["proof"], at["settings"], at["vk"], srs),
    }
    begun = time.perf_counter()
    done = asyncio.run(steps[stage]())
    print(json.dumps({"seconds": time.perf_counter() - begun, "done": done if isinstance(done, bool) else True}))


def run_peer(folder, work, runs):
    """The peer's whole flow on one network; medians where a stage runs several times."""
    work.mkdir(parents=True, exist_ok=True)
    took = {}
    for stage in PEER:
        times = []
        for _ in range(runs if stage in ("prove", "verify") else 1):
            command = [sys.executable, __file__, "--peer-stage", stage, str(folder / "network.onnx"), str(folder / "input.json"), str(work)]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            said = child.stdout.read()
            _, status, usage = os.wait4(child.pid, 0)
            if os.waitstatus_to_exitcode(status) != 0:
                raise SystemExit(f"EZKL failed at {stage}:\n{said[-2000:]}")
            answer = json.loads(said.strip().splitlines()[-1])
            if not answer["done"]:
                raise SystemExit(f"EZKL's {stage} says no:\n{said[-2000:]}")
            times.append((answer["seconds"], usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))
        took[stage] = [statistics.median(column) for column in zip(*times)]
        print(f"  EZKL {stage}: {took[stage][0]:.2f} s, {took[stage][2]:.0f} MiB", file=sys.stderr, flush=True)
    proof = json.loads((work / "proof.json").read_text())["proof"]
    # Bytes as numbers, or hexadecimal with its prefix.
    proof_bytes = len(proof) if isinstance(proof, list) else (len(proof) - 2) // 2
    return {
        "system": "EZKL", "setup_s": took["setup"][0], "commit_s": 0.0, "witness_s": took["witness"][0], "prove_s": took["prove"][0],
        "prove_cpu_s": took["prove"][1], "verify_s": took["verify"][0], "proof_bytes": proof_bytes,
        "verifier_key_bytes": (work / "vk.key").stat().st_size, "prover_key_bytes": (work / "pk.key").stat().st_size,
        "peak_rss_mib": max(took[s][2] for s in ("setup", "witness", "prove")),
    }


def run_ours(assay, folder, system, runs):
    command = [assay, "zk", "bench", str(folder / "network.onnx"), "--calibration", str(folder / "calibration.json"),
               "--input", str(folder / "input.json"), "--system", system, "--runs", str(runs), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        # A system that cannot prove a network says so; that is a line of the table, not a failure of the run.
        return {"system": system, "refused": done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout)


def row(model, found, peer):
    if "refused" in found:
        return f"| {model} | `{found['system']}` | refused: {found['refused']} |" + " |" * 8
    faster = f"{peer['prove_s'] / found['prove_s']:.0f}x" if peer and found is not peer else ""
    name = found["system"] if found is peer else f"`{found['system']}`"
    size = lambda count: f"{count:,}"
    return (f"| {model} | {name} | {found['setup_s']:.2f} s | {found['witness_s'] * 1e3:.1f} ms | {found['prove_s']:.3f} s | {faster} | "
            f"{found['prove_cpu_s']:.2f} s | {found['verify_s'] * 1e3:.1f} ms | {size(found['proof_bytes'])} | "
            f"{size(found['verifier_key_bytes'])} | {found['peak_rss_mib']:.0f} MiB |")


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--assay", required=True)
    arguments.add_argument("--work", type=Path, default=Path("target/bench-zk"))
    arguments.add_argument("--models", default="mlp,lenet")
    arguments.add_argument("--systems", default=",".join(SYSTEMS))
    arguments.add_argument("--runs", type=int, default=5)
    # The peer proves LeNet for minutes: more runs are for who has the time.
    arguments.add_argument("--peer-runs", type=int, default=1)
    arguments.add_argument("--without-peer", action="store_true")
    arguments.add_argument("--write", type=Path)
    given = arguments.parse_args()
    subprocess.run([sys.executable, str(HERE / "models.py"), str(given.work / "models")], check=True)
    lines = ["| network | system | set-up | witness | prove | faster | prove, CPU | verify | proof, B | verifier's key, B | peak memory |",
             "|---|---|---|---|---|---|---|---|---|---|---|"]
    for model in given.models.split(","):
        folder = given.work / "models" / model
        peer = None if given.without_peer else run_peer(folder, given.work / f"ezkl-{model}", given.peer_runs)
        if peer:
            lines.append(row(model, peer, peer))
        for system in given.systems.split(","):
            lines.append(row(model, run_ours(given.assay, folder, system, given.runs), peer))
            print(lines[-1], file=sys.stderr, flush=True)
    load = os.getloadavg()[0]
    told = [f"`make bench-zk` on {datetime.date.today()}, {os.cpu_count()} cores ({processor()}), load {load:.1f} at the end. Medians of "
            f"{given.runs} runs (EZKL: {given.peer_runs}), same ONNX file, same input, one after the other.", "", *lines]
    text = "\n".join(told)
    print(text)
    if given.write:
        page = given.write.read_text()
        before, rest = page.split(BEGIN)
        after = rest.split(END)[1]
        given.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "--peer-stage":
        peer_stage(sys.argv[2], sys.argv[3], sys.argv[4], Path(sys.argv[5]))
    else:
        main()
