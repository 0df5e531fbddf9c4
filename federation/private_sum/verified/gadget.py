"""The polynomials of a proof: rows of values as polynomials, their weighted squares, and what they are at one point.

A row's polynomial takes its mask at 1 and its values at the other roots of unity of order `domain`. The proof is the
polynomial Σ wₘ·fₘ² (of bits Σ wₘ·(fₘ² − fₘ)), given by its values at the roots of order 2·domain: even ones are the
rows' own points, odd ones lie between.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from federation.private_sum.verified.field import (
    DEGREE,
    MODULUS,
    Elements,
    add,
    extended,
    invert_extended,
    matmul,
    multiply,
    multiply_extended,
    powers,
    root_of_unity,
    subtract,
)


def rows_of(values: Elements, domain: int) -> Elements:
    """(rows, domain − 1): a part's values, filled up with zeros."""
    n_rows = -(-len(values) // (domain - 1))
    padded = np.zeros(n_rows * (domain - 1), dtype=np.uint64)
    padded[: len(values)] = values
    return padded.reshape(n_rows, domain - 1)


def prove_squares(rows: Elements, masks: Elements, weights: Elements, *, less_themselves: bool = False) -> Elements:
    """(2·domain, 3): values of Σ wₘ·fₘ², or with less_themselves of Σ wₘ·(fₘ² − fₘ).

    rows: (m, domain − 1) of F. masks, weights: (m, 3) of K.
    """
    domain = rows.shape[1] + 1
    between, mask_between = _between(domain)
    at_even = np.concatenate((np.zeros((len(rows), 1), dtype=np.uint64), rows), axis=1)
    mask_even = np.zeros(domain, dtype=np.uint64)
    mask_even[0] = 1
    proof = np.empty((2 * domain, DEGREE), dtype=np.uint64)
    for start, values, of_mask in ((0, at_even, mask_even), (1, matmul(rows, between), mask_between)):
        proof[start::2] = _weighted_squares(values, of_mask, masks, weights, less_themselves)
    return proof


def _weighted_squares(
    values: Elements, of_mask: Elements, masks: Elements, weights: Elements, less_themselves: bool
) -> Elements:
    """(points, 3). values: (m, points), each row without its mask; of_mask: (points,) what a mask adds there."""
    weighted = multiply_extended(weights, masks)
    squares = matmul(np.ascontiguousarray(weights.T), multiply(values, values)).T
    twice = np.uint64(2) * of_mask % np.uint64(MODULUS)
    crossed = multiply(matmul(np.ascontiguousarray(weighted.T), values).T, twice[:, None])
    masked = multiply(total_of(multiply_extended(weighted, masks))[None, :], multiply(of_mask, of_mask)[:, None])
    total = add(add(squares, crossed), masked)
    if less_themselves:
        products = matmul(np.ascontiguousarray(weights.T), values).T
        total = subtract(subtract(total, products), multiply(total_of(weighted)[None, :], of_mask[:, None]))
    return total


def open_rows(rows: Elements, masks: Elements, point: Elements) -> Elements:
    """(m, 3): each row's polynomial at a point of K outside F; linear, so a share of rows gives a share of it."""
    at = basis_at(rows.shape[1] + 1, point)
    return add(matmul(rows, at[1:]), multiply_extended(masks, at[0]))


def open_proof(proof: Elements, point: Elements) -> Elements:
    """(3,): a proof, or a share of it, at a point of K outside F."""
    return total_of(multiply_extended(proof, basis_at(len(proof), point)))


def basis_at(order: int, point: Elements) -> Elements:
    """(order, 3): Lagrange's basis over the roots of unity of this order, at a point of K outside F.

    Lₙ(t) = (t^order − 1)·ωⁿ / (order·(t − ωⁿ)).
    """
    roots = powers(root_of_unity(order), order)
    inverse = invert_extended(subtract(np.broadcast_to(point, (order, DEGREE)), extended(roots)))
    raised = point
    for _ in range(order.bit_length() - 1):
        raised = multiply_extended(raised, raised)
    shared = multiply(subtract(raised, extended(np.ones(1, dtype=np.uint64))[0]), _scalar(pow(order, -1, MODULUS)))
    return multiply_extended(multiply(inverse, roots[:, None]), shared)


def weighted_sum(weights: Elements, values: Elements) -> Elements:
    """(3,): Σ wₙ·vₙ of weights (n, 3) in K and values (n,) in F."""
    return matmul(np.ascontiguousarray(weights.T), values[:, None])[:, 0]


def total_of(elements: Elements) -> Elements:
    """(3,): the sum of elements (n, 3) of K."""
    total: Elements = elements.sum(axis=0) % np.uint64(MODULUS)
    return total


def _scalar(value: int) -> Elements:
    return np.array(value, dtype=np.uint64)


@lru_cache(maxsize=8)
def _between(domain: int) -> tuple[Elements, Elements]:
    """(domain − 1, domain) and (domain,): what a row's values, and its mask, add at each odd root of order 2·domain.

    Lₙ at the root g^(2q+1) is −2 / (domain·(g^(2(q−n)+1) − 1)), so one row of inverses serves all.
    """
    generator = root_of_unity(2 * domain)
    scale = -2 * pow(domain, -1, MODULUS)
    gaps = np.array(
        [scale * pow(pow(generator, 2 * gap + 1, MODULUS) - 1, -1, MODULUS) % MODULUS for gap in range(domain)],
        dtype=np.uint64,
    )
    q, n = np.arange(domain)[None, :], np.arange(domain)[:, None]
    matrix = gaps[(q - n) % domain]
    matrix.setflags(write=False)
    return matrix[1:], matrix[0]
