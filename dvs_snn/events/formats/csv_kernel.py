"""The compiled inner loop of the text reader."""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def parse(data, order, digits, t, x, y, p):
    """Events of whole lines in `data`; returns how many, and where the first bad line begins to be bad (-1: nowhere).

    `order[c]` says which of t, x, y, p column `c` is (-1: none of them). Times are decimal numbers, shifted by `digits`
    decimal places and rounded half away from zero, so that no binary fraction ever comes in between.
    """
    count = 0
    i = 0
    size = data.size
    columns = order.size
    while i < size:
        while i < size and (data[i] == 32 or data[i] == 9 or data[i] == 13):
            i += 1
        if i >= size:
            break
        if data[i] == 10:
            i += 1
            continue
        if data[i] == 35 or data[i] == 37:
            while i < size and data[i] != 10:
                i += 1
            continue
        for column in range(columns):
            negative = False
            quoted = data[i] == 34
            if quoted:
                i += 1
            if i < size and (data[i] == 45 or data[i] == 43):
                negative = data[i] == 45
                i += 1
            value = 0  # the first 18 significant digits
            found = 0
            places = 0  # decimal places that `value` holds
            point = False
            dropped = False  # digits that `value` could not take were not all zero
            while i < size:
                c = data[i]
                if 48 <= c <= 57:
                    found += 1
                    if value <= 900000000000000000:
                        value = value * 10 + (c - 48)
                        if point:
                            places += 1
                    elif point:
                        dropped = dropped or c != 48
                    else:
                        return count, i
                elif c == 46 and not point:
                    point = True
                else:
                    break
                i += 1
            if found == 0:
                return count, i
            exponent = 0
            if i < size and (data[i] == 101 or data[i] == 69):
                i += 1
                down = False
                if i < size and (data[i] == 45 or data[i] == 43):
                    down = data[i] == 45
                    i += 1
                start = i
                while i < size and 48 <= data[i] <= 57:
                    exponent = exponent * 10 + (data[i] - 48)
                    if exponent > 400:
                        return count, i
                    i += 1
                if i == start:
                    return count, i
                if down:
                    exponent = -exponent
            if quoted:
                if i >= size or data[i] != 34:
                    return count, i
                i += 1
            target = order[column]
            shift = (digits if target == 0 else 0) - places + exponent
            half = 0
            while shift > 0 and value != 0:
                if value > 900000000000000000:
                    return count, i
                value *= 10
                shift -= 1
            while shift < 0 and (value != 0 or half != 0):
                dropped = dropped or half != 0
                half = value % 10
                value //= 10
                shift += 1
            fraction = dropped or half != 0
            if target == 0:
                if half >= 5:
                    value += 1
                t[count] = -value if negative else value
            elif target == 1 or target == 2:
                if fraction:
                    return count, i
                if (negative and value > 0) or value > 65535:
                    value = 65535
                if target == 1:
                    x[count] = value
                else:
                    y[count] = value
            elif target == 3:
                p[count] = (value > 0 or fraction) and not negative
            separators = 0
            while i < size and (data[i] == 32 or data[i] == 9 or data[i] == 44 or data[i] == 59 or data[i] == 13):
                if data[i] == 44 or data[i] == 59:
                    separators += 1
                i += 1
            if column + 1 < columns:
                if i >= size or data[i] == 10 or separators > 1:
                    return count, min(i, size - 1)
            elif separators > 1 or (i < size and data[i] != 10):
                return count, i
        i += 1
        count += 1
    return count, -1
