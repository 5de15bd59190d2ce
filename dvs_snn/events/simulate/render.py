"""Compiled drawing of a person: a slow layer (background, torso, head) and, per frame, the moving limbs over it.

Everything is drawn with linear intensity and anti-aliased edges: coverage falls from 1 to 0 over `soft` pixels of
signed distance, because a DVS reacts to the log of intensity and a hard edge that jumps by a pixel would fire in
bursts. The slow layer is drawn at key times only; frames between two key times blend it linearly.
"""

from __future__ import annotations

import math

from numba import njit

# Columns of a part (a rounded cone in the image, near end first) in the array that `draw_parts` reads.
PART_FIELDS = ("x0", "y0", "r0", "x1", "y1", "r1", "depth", "u0", "u1", "behind")


@njit(cache=True, nogil=True, fastmath=True, inline="always")
def _coverage(distance, soft):  # type: ignore[no-untyped-def]
    a = 0.5 - distance / soft
    if a <= 0.0:
        return 0.0
    if a >= 1.0:
        return 1.0
    return a * a * (3.0 - 2.0 * a)


@njit(cache=True, nogil=True, fastmath=True, inline="always")
def _sample(texture, u, v):  # type: ignore[no-untyped-def]
    """Bilinear look-up; u and v in [0, 1] span the rows and columns, beyond them the border repeats."""
    rows, columns = texture.shape
    fu = min(max(u, 0.0), 1.0) * (rows - 1)
    fv = min(max(v, 0.0), 1.0) * (columns - 1)
    i, j = min(int(fu), rows - 2), min(int(fv), columns - 2)
    a, b = fu - i, fv - j
    return (texture[i, j] * (1 - b) + texture[i, j + 1] * b) * (1 - a) + (
        texture[i + 1, j] * (1 - b) + texture[i + 1, j + 1] * b
    ) * a


@njit(cache=True, nogil=True, fastmath=True)
def draw_slow(  # type: ignore[no-untyped-def]
    out, cover, background, shift, torso, widths, torso_texture, neck, head, head_texture, neck_tone, soft, light,
):  # fmt: skip
    """Background, torso, neck and head at one time.

    `torso` = (x, y of the neck's base, x and y of the unit vector down the body, px per row of the width table,
    shear of the texture left, right, scale of the left and of the right half-width). `widths` holds half-widths in px
    by row from the neck down. `head` = (x, y, half-width, half-height, cos roll, sin roll, yaw shift, nod shift) and
    `neck` = (x0, y0, x1, y1, half-width).
    """
    height, width = out.shape
    margin = (background.shape[0] - height) // 2
    for y in range(height):
        for x in range(width):
            fx, fy = x + margin + shift[0], y + margin + shift[1]
            i, j = int(fy), int(fx)
            a, b = fy - i, fx - j
            out[y, x] = (background[i, j] * (1 - b) + background[i, j + 1] * b) * (1 - a) + (
                background[i + 1, j] * (1 - b) + background[i + 1, j + 1] * b
            ) * a
            cover[y, x] = 0.0
    # --- torso: distance to an outline given as half-width by row
    rows = len(widths)
    ux, uy, step = torso[2], torso[3], torso[4]
    y_low = max(0, int(torso[1] - 12))
    for y in range(y_low, height):
        for x in range(width):
            dx, dy = x - torso[0], y - torso[1]
            along = dx * ux + dy * uy
            across = dx * uy - dy * ux
            row = along / step
            if row < -4.0 or row > rows + 3.0:
                continue
            r = min(max(row, 0.0), rows - 1.001)
            k = int(r)
            side = torso[7] if across < 0 else torso[8]
            w = (widths[k] * (1 - (r - k)) + widths[k + 1] * (r - k)) * side
            slope = (widths[k + 1] - widths[k]) * side / step
            distance = (abs(across) - w) / math.sqrt(1 + slope * slope)
            if row < 0:
                distance = max(distance, -row * step)
            elif row > rows - 1:
                distance = max(distance, (row - rows + 1) * step)
            c = _coverage(distance, soft)
            if c > 0.0:
                s = min(max(across / (w + 1e-3), -1.0), 1.0)
                lift = torso[5] if s < 0 else torso[6]
                fade = max(0.0, 1.0 - row / (0.6 * rows))
                u = (row + lift * abs(s) * fade) / (rows - 1)
                v = 0.5 + 0.5 * s
                nz = math.sqrt(max(0.0, 1 - 0.8 * s * s))
                shade = light[3] + (1 - light[3]) * max(0.0, light[0] * 0.9 * s * uy + light[2] * nz)
                out[y, x] = out[y, x] * (1 - c) + c * shade * light[4] * _sample(torso_texture, u, v)
                cover[y, x] = max(cover[y, x], c)
    # --- neck
    nx, ny = neck[2] - neck[0], neck[3] - neck[1]
    squared = nx * nx + ny * ny + 1e-6
    for y in range(max(0, int(min(neck[1], neck[3]) - neck[4] - 2)), min(height, int(max(neck[1], neck[3]) + 3))):
        for x in range(
            max(0, int(min(neck[0], neck[2]) - neck[4] - 3)), min(width, int(max(neck[0], neck[2]) + neck[4] + 4))
        ):
            h = ((x - neck[0]) * nx + (y - neck[1]) * ny) / squared
            if h < -0.25 or h > 1.0:
                continue
            px, py = x - neck[0] - h * nx, y - neck[1] - h * ny
            across = math.sqrt(px * px + py * py)
            c = _coverage(across - neck[4], soft)
            if c > 0.0:
                s = min(across / neck[4], 1.0)
                if px < 0:
                    s = -s
                shade = light[3] + (1 - light[3]) * max(0.0, light[0] * s + light[2] * math.sqrt(1 - s * s) * 0.85)
                out[y, x] = out[y, x] * (1 - c) + c * shade * light[4] * neck_tone * (0.7 + 0.3 * max(h, 0.0))
                cover[y, x] = max(cover[y, x], c)
    # --- head
    a, b = head[2], head[3]
    reach = max(a, b) * 1.1 + 3
    for y in range(max(0, int(head[1] - reach)), min(height, int(head[1] + reach) + 1)):
        for x in range(max(0, int(head[0] - reach)), min(width, int(head[0] + reach) + 1)):
            dx, dy = x - head[0], y - head[1]
            p = (dx * head[4] + dy * head[5]) / a
            q = (-dx * head[5] + dy * head[4]) / b
            if q > 0:
                p *= 1 + 0.25 * q  # the chin is narrower
            radius = math.sqrt(p * p + q * q)
            c = _coverage((radius - 1) * min(a, b), soft)
            if c > 0.0:
                nz = math.sqrt(max(0.0, 1 - min(radius * radius, 1.0)))
                shade = light[3] + (1 - light[3]) * max(0.0, light[0] * p + light[1] * q + light[2] * nz)
                # on a sphere a turned face moves less near the rim
                v = 0.5 + 0.5 * p + head[6] * nz
                u = 0.5 + 0.5 * q + head[7] * nz
                out[y, x] = out[y, x] * (1 - c) + c * shade * light[4] * _sample(head_texture, u, v)
                cover[y, x] = max(cover[y, x], c)


@njit(cache=True, nogil=True, fastmath=True)
def blend(out, cover, first, second, cover_first, cover_second, w):  # type: ignore[no-untyped-def]
    """The slow layer at a share `w` of the way from one key time to the next."""
    height, width = out.shape
    for y in range(height):
        for x in range(width):
            out[y, x] = first[y, x] + w * (second[y, x] - first[y, x])
            cover[y, x] = cover_first[y, x] + w * (cover_second[y, x] - cover_first[y, x])


@njit(cache=True, nogil=True, fastmath=True)
def draw_parts(out, cover, parts, order, kinds, textures, soft, light, shadow):  # type: ignore[no-untyped-def]
    """Rounded cones, far to near, over the slow layer; `parts[n]` has the fields of `PART_FIELDS`.

    `textures[kinds[n]]` is looked up from u0 to u1 along the part and across it; `shadow` = (strength, reach in px, x
    and y offset in px) darkens what lies under the part beside it.
    """
    height, width = out.shape
    for index in range(len(order)):
        n = order[index]
        x0, y0, r0 = parts[n, 0], parts[n, 1], parts[n, 2]
        x1, y1, r1 = parts[n, 3], parts[n, 4], parts[n, 5]
        if r0 <= 0:
            continue
        behind = parts[n, 9]
        ax, ay = x1 - x0, y1 - y0
        squared = ax * ax + ay * ay + 1e-6
        length = math.sqrt(squared)
        reach = max(r0, r1) + soft + 1
        shaded = shadow[0] > 0 and behind < 0.5
        if shaded:
            reach += shadow[1] + max(abs(shadow[2]), abs(shadow[3]))
        top, bottom = max(0, int(min(y0, y1) - reach)), min(height, int(max(y0, y1) + reach) + 1)
        left, right = max(0, int(min(x0, x1) - reach)), min(width, int(max(x0, x1) + reach) + 1)
        if top >= bottom or left >= right:
            continue
        texture = textures[kinds[n]]
        nx, ny = -ay / length, ax / length
        for y in range(top, bottom):
            for x in range(left, right):
                if shaded:
                    px, py = x - x0 - shadow[2], y - y0 - shadow[3]
                    h = min(max((px * ax + py * ay) / squared, 0.0), 1.0)
                    qx, qy = px - h * ax, py - h * ay
                    near = math.sqrt(qx * qx + qy * qy) - (r0 + (r1 - r0) * h)
                    if near < shadow[1]:
                        k = 1.0 - max(near, 0.0) / shadow[1]
                        out[y, x] *= 1.0 - shadow[0] * k * k * cover[y, x]
                px, py = x - x0, y - y0
                h = min(max((px * ax + py * ay) / squared, 0.0), 1.0)
                qx, qy = px - h * ax, py - h * ay
                r = r0 + (r1 - r0) * h
                c = _coverage(math.sqrt(qx * qx + qy * qy) - r, soft)
                if c <= 0.0:
                    continue
                if behind > 0.5:
                    c *= 1.0 - cover[y, x]
                s = min(max((px * nx + py * ny) / r, -1.0), 1.0)
                nz = math.sqrt(1.0 - s * s * 0.95)
                shade = light[3] + (1 - light[3]) * max(0.0, s * (nx * light[0] + ny * light[1]) + light[2] * nz)
                tone = _sample(texture, parts[n, 7] + (parts[n, 8] - parts[n, 7]) * h, 0.5 + 0.5 * s)
                out[y, x] = out[y, x] * (1 - c) + c * shade * light[4] * tone


@njit(cache=True, nogil=True)
def depth_order(depth, order):  # type: ignore[no-untyped-def]
    """Insertion sort, far (small) to near; a handful of parts that are nearly sorted from frame to frame."""
    for i in range(1, len(order)):
        n = order[i]
        j = i - 1
        while j >= 0 and depth[order[j]] > depth[n]:
            order[j + 1] = order[j]
            j -= 1
        order[j + 1] = n
