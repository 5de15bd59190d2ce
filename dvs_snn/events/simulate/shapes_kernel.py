"""Compiled geometry of shapes: signed distance to an outline, drawing with anti-aliased edges, and what is visible.

A body is a kind of outline with a row of numbers, `geometry` (its columns are `GEOMETRY`), and, for polygons, its
vertices; its pose is (x, y, cos, sin, scale). Pixel (i, j) is centred at x = j, y = i, so the image reaches from -0.5
to width - 0.5. Distances are exact on the outline and, to first order, beside it, which is all that an edge of a pixel
or two needs.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

ELLIPSE, RECTANGLE, POLYGON, BLOB = 0, 1, 2, 3
HARMONICS = 4  # of a blob: its radius is a * (1 + sum over k = 2..5 of c_k cos(k phi) + s_k sin(k phi))
GEOMETRY = ("kind", "a", "b", "hole", "inside", "reach", "half_u", "half_v", *("c", "s") * HARMONICS)
POSE = ("x", "y", "cos", "sin", "scale")


@njit(cache=True, nogil=True, fastmath=True)
def _distance(geometry, vertices, count, x, y):  # type: ignore[no-untyped-def]
    """Signed distance (negative inside) of a point in the body's own coordinates."""
    kind = int(geometry[0])
    a, b, hole = geometry[1], geometry[2], geometry[3]
    if kind == ELLIPSE:
        if a == b:
            radius = math.sqrt(x * x + y * y)
            d = radius - a
            if hole > 0.0:
                d = max(d, hole - radius)
            return d
        u, v = x / a, y / b
        level = math.sqrt(u * u + v * v)
        if level < 1e-6:
            return -min(a, b)
        return level * (level - 1.0) / math.sqrt(u * u / (a * a) + v * v / (b * b))
    if kind == RECTANGLE:
        return max(abs(x) - a, abs(y) - b)
    if kind == BLOB:
        rho = math.sqrt(x * x + y * y)
        if rho < 1e-6:
            return -geometry[4]
        c1, s1 = x / rho, y / rho
        c, s = c1, s1
        radius, slope = 1.0, 0.0
        for k in range(HARMONICS):
            c, s = c * c1 - s * s1, s * c1 + c * s1
            p, q = geometry[8 + 2 * k], geometry[9 + 2 * k]
            radius += p * c + q * s
            slope += (k + 2) * (q * c - p * s)
        return (rho - a * radius) * radius / math.sqrt(radius * radius + slope * slope)
    # polygon: nearest edge, sign by crossings of a ray
    nearest, sign = 1e30, 1.0
    j = count - 1
    for i in range(count):
        xi, yi, xj, yj = vertices[i, 0], vertices[i, 1], vertices[j, 0], vertices[j, 1]
        ex, ey, wx, wy = xj - xi, yj - yi, x - xi, y - yi
        h = min(max((wx * ex + wy * ey) / (ex * ex + ey * ey), 0.0), 1.0)
        dx, dy = wx - h * ex, wy - h * ey
        nearest = min(nearest, dx * dx + dy * dy)
        if (yi > y) != (yj > y) and x < xi + (y - yi) * ex / ey:
            sign = -sign
        j = i
    return sign * math.sqrt(nearest)


@njit(cache=True, nogil=True, inline="always")
def _mirrored(u):  # type: ignore[no-untyped-def]
    """A texture's coordinate folded into [0, 1], so that the texture repeats as in a mirror."""
    if u < 0.0 or u > 1.0:
        u = abs(u) % 2.0
        if u > 1.0:
            u = 2.0 - u
    return u


@njit(cache=True, nogil=True, inline="always")
def _crossing(slope, offset, half):  # type: ignore[no-untyped-def]
    """The x for which |slope x + offset| <= half, from low to high."""
    if abs(slope) < 1e-9:
        return (-1e9, 1e9) if abs(offset) <= half else (1e9, -1e9)
    a, b = (-half - offset) / slope, (half - offset) / slope
    return min(a, b), max(a, b)


@njit(cache=True, nogil=True)
def signed_distances(out, geometry, vertices, count, points):  # type: ignore[no-untyped-def]
    """Signed distance of every row of `points` (body's own coordinates) into `out`."""
    for i in range(len(points)):
        out[i] = _distance(geometry, vertices, count, points[i, 0], points[i, 1])


@njit(cache=True, nogil=True, fastmath=True)
def draw_background(out, background, margin, dx, dy, light):  # type: ignore[no-untyped-def]
    """The background moved by (dx, dy) px, `light` times as bright; `margin` px of it lie beyond each border."""
    height, width = out.shape
    fx, fy = margin - dx, margin - dy
    left, top = math.floor(fx), math.floor(fy)
    b, a = fx - left, fy - top
    w00, w01, w10, w11 = (
        np.float32((1 - a) * (1 - b) * light),
        np.float32((1 - a) * b * light),
        np.float32(a * (1 - b) * light),
        np.float32(a * b * light),
    )
    for y in range(height):
        upper, lower = background[y + top], background[y + top + 1]
        for x in range(width):
            j = x + left
            out[y, x] = w00 * upper[j] + w01 * upper[j + 1] + w10 * lower[j] + w11 * lower[j + 1]


@njit(cache=True, nogil=True, fastmath=True)
def draw_bodies(out, poses, order, geometry, vertices, counts, textures, soft, light):  # type: ignore[no-untyped-def]
    """Bodies over the picture, far to near by `order`; an edge's coverage falls from 1 to 0 over `soft` px."""
    height, width = out.shape
    size = textures.shape[1]
    for index in range(len(order)):
        n = order[index]
        px, py, cos, sin, scale = poses[n, 0], poses[n, 1], poses[n, 2], poses[n, 3], poses[n, 4]
        shape, corners, count, texture = geometry[n], vertices[n], counts[n], textures[n]
        reach = shape[5] * scale + 0.5 * soft
        inside, hole = shape[4] * scale - 0.5 * soft, shape[3] * scale
        half_u, half_v = shape[1] * scale + 0.5 * soft, shape[2] * scale + 0.5 * soft
        boxed = int(shape[0]) == RECTANGLE
        half_y = abs(sin) * half_u + abs(cos) * half_v if boxed else reach
        for y in range(max(0, math.ceil(py - half_y)), min(height - 1, math.floor(py + half_y)) + 1):
            dy = y - py
            # columns of this row that the body can reach: a bar across the image covers few of each row
            if boxed:
                low_u, high_u = _crossing(cos, sin * dy, half_u)
                low_v, high_v = _crossing(-sin, cos * dy, half_v)
                low, high = max(low_u, low_v), min(high_u, high_v)
            else:
                high = math.sqrt(max(reach * reach - dy * dy, 0.0))
                low = -high
            left, right = math.ceil(max(px + low, 0.0)), math.floor(min(px + high, width - 1.0))
            for x in range(left, right + 1):
                dx = x - px
                squared = dx * dx + dy * dy
                qx, qy = (cos * dx + sin * dy) / scale, (cos * dy - sin * dx) / scale
                c = 1.0
                if hole > 0.0 or inside <= 0.0 or squared > inside * inside:
                    c = 0.5 - _distance(shape, corners, count, qx, qy) * scale / soft
                    if c <= 0.0:
                        continue
                    c = 1.0 if c >= 1.0 else c * c * (3.0 - 2.0 * c)
                fu = _mirrored(0.5 + 0.5 * qx / shape[6]) * (size - 1)
                fv = _mirrored(0.5 + 0.5 * qy / shape[7]) * (size - 1)
                j, i = min(int(fu), size - 2), min(int(fv), size - 2)
                b, a = fu - j, fv - i
                tone = (texture[i, j] * (1 - b) + texture[i, j + 1] * b) * (1 - a) + (
                    texture[i + 1, j] * (1 - b) + texture[i + 1, j + 1] * b
                ) * a
                out[y, x] += c * (tone * light - out[y, x])


@njit(cache=True, nogil=True)
def visible_shares(  # type: ignore[no-untyped-def]
    out, poses, boxes, order, targets, geometry, vertices, counts, samples, width, height
):  # fmt: skip
    """Share of each target's area that lies in the image and under no nearer body, for every instant.

    `poses[instants, bodies, 5]`, `boxes[instants, targets, 4]` (x, y, w, h); `samples[targets, points, 2]` are spread
    evenly over each target's area, in its own coordinates. A target far from the border and from others is 1 at once.
    """
    points = samples.shape[1]
    rank = np.empty(len(order), np.int64)
    for i in range(len(order)):
        rank[order[i]] = i
    above = np.empty(len(order), np.int64)
    for t in range(len(poses)):
        pose = poses[t]
        for n in range(targets):
            x, y, half_w, half_h = boxes[t, n, 0], boxes[t, n, 1], boxes[t, n, 2] / 2, boxes[t, n, 3] / 2
            if x + half_w <= -0.5 or y + half_h <= -0.5 or x - half_w >= width - 0.5 or y - half_h >= height - 0.5:
                out[t, n] = 0.0
                continue
            whole = (
                x - half_w >= -0.5 and y - half_h >= -0.5 and x + half_w <= width - 0.5 and y + half_h <= height - 0.5
            )
            found = 0
            for i in range(rank[n] + 1, len(order)):
                m = order[i]
                dx, dy = pose[m, 0] - pose[n, 0], pose[m, 1] - pose[n, 1]
                reach = geometry[m, 5] * pose[m, 4] + geometry[n, 5] * pose[n, 4]
                if dx * dx + dy * dy < reach * reach:
                    above[found] = m
                    found += 1
            if whole and found == 0:
                out[t, n] = 1.0
                continue
            seen = 0
            cos, sin, scale = pose[n, 2], pose[n, 3], pose[n, 4]
            for k in range(points):
                qx, qy = samples[n, k, 0] * scale, samples[n, k, 1] * scale
                ix, iy = pose[n, 0] + cos * qx - sin * qy, pose[n, 1] + sin * qx + cos * qy
                if ix < -0.5 or iy < -0.5 or ix > width - 0.5 or iy > height - 0.5:
                    continue
                free = True
                for i in range(found):
                    m = above[i]
                    dx, dy = ix - pose[m, 0], iy - pose[m, 1]
                    reach = geometry[m, 5] * pose[m, 4]
                    if dx * dx + dy * dy > reach * reach:
                        continue
                    ux = (pose[m, 2] * dx + pose[m, 3] * dy) / pose[m, 4]
                    uy = (pose[m, 2] * dy - pose[m, 3] * dx) / pose[m, 4]
                    if _distance(geometry[m], vertices[m], counts[m], ux, uy) < 0.0:
                        free = False
                        break
                if free:
                    seen += 1
            out[t, n] = seen / points
