"""The surrogates as lines of a compiled kernel: from `z` (membrane minus threshold), `p0` and `p1` to `surrogate`.

p0 is a height and p1 a slope or width, made by `Surrogate.kernel_parameters`; keys are `Surrogate.code`.
"""

from __future__ import annotations

# exp(y), y <= 0, without a library call so that lanes stay vectors: y = r - m ln 2, a polynomial in r, then halvings.
_EXP = (
    "y = y if y > low else low",
    "m = np.int32(half - y * log2e)",
    "mf = scalars.dtype.type(m)",
    "r = y + mf * ln2_high + mf * ln2_low",
    "e = one",
    *(f"e = one + r * e * inverse{n}" for n in range(12, 0, -1)),
    *(f"e = e * (power{bit} if m & {1 << bit} else one)" for bit in range(7)),
)

SURROGATES: dict[int, tuple[str, ...]] = {
    0: ("y = p1 * z", "surrogate = p0 / (one + y * y)"),  # ATan: p0 = α/2, p1 = πα/2
    1: ("y = one + p1 * abs(z)", "surrogate = one / (y * y)"),  # fast sigmoid: p1 = k
    2: ("y = p1 - abs(z)", "surrogate = p0 * (y if y > zero else zero)"),  # triangle: p0 = 1/γ², p1 = γ
    3: ("y = -p1 * abs(z)", *_EXP, "surrogate = p0 * e / ((one + e) * (one + e))"),  # sigmoid: p0 = p1 = α
    4: ("surrogate = p0 if abs(z) < p1 else zero",),  # rectangle: p0 = 1/2a, p1 = a
    5: ("y = -p1 * abs(z)", *_EXP, "surrogate = p0 * e"),  # SLAYER: p0 = cα/2, p1 = α
    6: ("y = one + abs(z)", "surrogate = p0 / (y * y)"),  # SuperSpike: p0 = α
}


def constants(code: int) -> list[str]:
    """Numbers of the exponential, in the kernel's own precision: a bare literal would be float64."""
    if not set(_EXP) <= set(SURROGATES[code]):
        return []
    cast = "scalars.dtype.type"
    lines = [f"low, log2e = {cast}(-87), {cast}(1.4426950408889634)"]
    lines += [f"ln2_high, ln2_low = {cast}(0.693145751953125), {cast}(1.42860682030941723212e-6)"]
    lines += [f"inverse{n} = {cast}({1 / n!r})" for n in range(1, 13)]
    return lines + [f"power{bit} = {cast}({2.0 ** -(1 << bit)!r})" for bit in range(7)]
