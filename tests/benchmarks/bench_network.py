"""What a step of a network costs, ours or a published one: run by hand, python tests/benchmarks/bench_network.py.

9 covariates x 3 years x 120 x 120 cells, forward and training step, beside the same weights in a plain contiguous
build (nn.Conv3d throughout, the scan in plain PyTorch) and, for the forward, OpenVINO where it imports. Shares are
of the matrix product's peak in the same run; a training step counts three times the forward's operations, and the
scan's are not counted. On a machine that others use, --cpu counts processor time, with one thread.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from model.layers.convolutions import Pointwise
from model.layers.kernels import scan as selective
from model.layers.kernels.depthwise import Depthwise
from model.layers.networks.carbon_former import V1_7, V3_0, CarbonFormer
from model.layers.networks.plain import Plain
from stages.train.cost import measured

FORMS = {"v1.7": V1_7, "v3.0": V3_0}
OURS = "ours"  # the shipped default
YEARS, SIDE, COVARIATES, SECTORS, GEMM = 3, 120, 9, 1, 1536


class Ours(Plain):
    """The shipped default's network, called as the published ones are."""

    def __init__(self, width: int) -> None:
        super().__init__(COVARIATES, SECTORS, width)

    def forward(self, auxiliary: Tensor, main: Tensor, side: int) -> tuple[Tensor, None]:
        return super().forward(auxiliary, main), None


class Uncompiled(nn.Module):
    """A network whose scan runs in plain PyTorch, whatever is installed."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *streams: Any) -> Any:
        found = selective.fastest
        selective.fastest = lambda: selective.plain_scan
        try:
            return self.network(*streams)
        finally:
            selective.fastest = found


class Contiguous(nn.Module):
    """A convolution of torch in the layout torch starts with."""

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x.contiguous())


def plain(network: nn.Module) -> Uncompiled:
    """The same weights in nn.Conv3d."""
    built = copy.deepcopy(network)
    if isinstance(built, Ours):
        built.layout = torch.contiguous_format
    for module in list(built.modules()):
        for name, child in module.named_children():
            if isinstance(child, Depthwise | Pointwise):
                setattr(module, name, Contiguous(as_convolution(child)))
    return Uncompiled(built)


def as_convolution(part: Depthwise | Pointwise) -> nn.Conv3d:
    if isinstance(part, Depthwise):
        channels, reach = len(part.weight), part.reach
        settings = {
            "dilation": part.dilation,
            "groups": channels,
            "padding": reach,
            "padding_mode": "replicate",
        }
        convolution = nn.Conv3d(channels, channels, part.weight.shape[-1], **settings)
        convolution.load_state_dict({"weight": part.weight.detach(), "bias": part.bias.detach()})
    else:
        convolution = nn.Conv3d(part.linear.in_features, part.linear.out_features, 1)
        weight = part.linear.weight.detach()[:, :, None, None, None]
        convolution.load_state_dict({"weight": weight, "bias": part.linear.bias.detach()})
    return convolution


def training(network: nn.Module, streams: tuple[Tensor, Tensor]) -> Callable[[], Any]:
    optimiser = torch.optim.AdamW(network.parameters(), 1e-4)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        estimate, _ = network(*streams, SIDE)
        (estimate - 0.5).square().mean().backward()
        optimiser.step()

    return step


def forward(network: nn.Module, streams: tuple[Tensor, Tensor]) -> Callable[[], Any]:
    def step() -> Tensor:
        with torch.inference_mode():
            return network(*streams, SIDE)[0]

    return step


class Estimate(nn.Module):
    """The network as exporters want it: tensors in, one tensor out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, auxiliary: Tensor, main: Tensor) -> Tensor:
        return self.network(auxiliary, main, SIDE)[0]


def by_doubling(u: Tensor, step: Tensor, decay: Tensor, into: Tensor, out: Tensor, skip: Tensor) -> Tensor:
    """The scan as exporters take it: no loop, each round reaches twice as far; more arithmetic than one pass."""
    fade, states = torch.exp(step[..., None] * decay), (step * u)[..., None] * into[:, :, None, :]
    apart = 1
    while apart < u.shape[1]:
        added = states[:, apart:] + fade[:, apart:] * states[:, :-apart]
        states = torch.cat([states[:, :apart], added], 1)
        fade = torch.cat([fade[:, :apart], fade[:, apart:] * fade[:, :-apart]], 1)
        apart *= 2
    return (states * out[:, :, None, :]).sum(-1) + u * skip


def openvino_forward(
    network: nn.Module, streams: tuple[Tensor, Tensor], threads: int
) -> Callable[[], Any] | None:
    """None where OpenVINO does not import or cannot take the network, with a line that says so."""
    scan = selective.fastest
    try:
        import openvino

        selective.fastest = lambda: by_doubling
        found = openvino.convert_model(Estimate(network).eval(), example_input=streams)
        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(found, "CPU", settings)
    except Exception as error:
        print(f"no OpenVINO: {type(error).__name__}: {str(error).splitlines()[0][:100]}\n")
        return None
    finally:
        selective.fastest = scan
    arrays = [stream.numpy() for stream in streams]
    return lambda: compiled(arrays)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--form", choices=[OURS, *FORMS], default=OURS)
    parser.add_argument("--width", type=int, help="channels; as shipped or published without it")
    parser.add_argument("--batch", type=int, nargs="+", default=[2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpu", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    clock = time.process_time if asked.cpu else time.perf_counter
    network: Any
    if asked.form == OURS:
        network = Ours(asked.width or 24)
        network.start(torch.Generator().manual_seed(0))
        nn.init.normal_(network.head.convolution.weight, std=0.1)
    else:
        network = CarbonFormer(COVARIATES, SECTORS, FORMS[asked.form], asked.width or 64)
        network.start(torch.Generator().manual_seed(0))
        nn.init.normal_(network.tail.linear.weight, std=0.1)
    square = torch.randn(GEMM, GEMM)
    for batch in asked.batch:
        streams = (
            torch.randn(batch, COVARIATES, YEARS, SIDE, SIDE),
            torch.rand(batch, SECTORS, YEARS, SIDE, SIDE),
        )
        other = plain(network)
        same = (forward(network, streams)() - forward(other, streams)()).abs().max()
        with FlopCounterMode(display=False) as counter:
            forward(network, streams)()
        steps = {
            "forward, ours": (forward(network, streams), 1),
            "forward, plain": (forward(other, streams), 1),
            "training, ours": (training(network, streams), 3),
            "training, plain": (training(other, streams), 3),
            "matrix product": (lambda: square @ square, 0),
        }
        if (exported := openvino_forward(other.network, streams, asked.threads)) is not None:
            steps["forward, OpenVINO"] = (exported, 1)
        peaks = {name: measured(step)[1] / 2**20 for name, (step, _) in steps.items()}
        times: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(asked.rounds):
            for name, (step, _) in steps.items():
                start = clock()
                step()
                times[name].append(clock() - start)
        peak = 2 * GEMM**3 / min(times["matrix product"])
        weights = sum(weight.numel() for weight in network.parameters())
        print(f"\n{asked.form}, {weights} weights, batch {batch}, {asked.threads} thread(s): ", end="")
        print(f"{counter.get_total_flops() / 1e9:.1f} GFLOP forward, peak {peak / 1e9:.0f} GFLOP/s, ", end="")
        print(f"largest difference to the plain build {same:.1e}\n")
        print(
            "| step | s | steps/s | times faster than plain | share of peak | peak MiB |\n"
            "| --- | --- | --- | --- | --- | --- |"
        )
        for name, (_, passes) in steps.items():
            if not passes:
                continue
            kind = name.split(",")[0]
            pairs = zip(times[f"{kind}, plain"], times[name], strict=True)
            gain = statistics.median(a / b for a, b in pairs)
            share = passes * counter.get_total_flops() / min(times[name]) / peak
            took = statistics.median(times[name])
            print(f"| {name} | {took:.3f} | {1 / took:.2f} | {gain:.2f} | {share:.3f} | {peaks[name]:.0f} |")


if __name__ == "__main__":
    main()
