//! The best approximation of a matrix as a product of two narrow ones.

use nalgebra::{DMatrix, DVector};

/// A product that approximates a matrix.
pub struct Factors {
    /// As many rows as the matrix, as many columns as the rank.
    pub left: DMatrix<f64>,
    /// As many rows as the rank, as many columns as the matrix.
    pub right: DMatrix<f64>,
    /// Squared Frobenius norm of the difference.
    pub difference: f64,
}

/// The product of rank `rank` that is nearest to `matrix` in the Frobenius norm, the size of each
/// term shared between both factors.
///
/// The smaller of both Gram matrices gives the singular vectors of one side, and projecting on the
/// first of them is the truncated singular value decomposition. The squares in it cost half of the
/// digits of small singular values; what is left of 64-bit floats is as exact as the 32-bit
/// weights.
pub fn factor(matrix: &DMatrix<f64>, rank: usize) -> Factors {
    let (rows, columns) = matrix.shape();
    let (mut left, mut right) = match () {
        () if rank >= columns => (matrix.clone(), DMatrix::identity(columns, columns)),
        () if rank >= rows => (DMatrix::identity(rows, rows), matrix.clone()),
        () if columns <= rows => {
            let vectors = first_vectors(matrix.tr_mul(matrix), rank);
            (matrix * &vectors, vectors.transpose())
        }
        () => {
            let vectors = first_vectors(matrix * matrix.transpose(), rank);
            let right = vectors.tr_mul(matrix);
            (vectors, right)
        }
    };
    balance(&mut left, &mut right);
    let mut rest = matrix.clone();
    rest.gemm(-1.0, &left, &right, 1.0);
    let difference = rest.norm_squared();
    let (left, right) = (left.resize_horizontally(rank, 0.0), right.resize_vertically(rank, 0.0));
    Factors { left, right, difference }
}

/// The eigenvectors of a symmetric matrix that belong to the `rank` largest eigenvalues.
fn first_vectors(gram: DMatrix<f64>, rank: usize) -> DMatrix<f64> {
    let eigen = gram.symmetric_eigen();
    let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    order.truncate(rank);
    eigen.eigenvectors.select_columns(&order)
}

/// Scales each column of `left` and row of `right` to the same norm, which leaves the product as
/// it is.
fn balance(left: &mut DMatrix<f64>, right: &mut DMatrix<f64>) {
    let norms = |n: usize| (left.column(n).norm(), right.row(n).norm());
    let scale = |(a, b): (f64, f64)| if a > 0.0 && b > 0.0 { (b / a).sqrt() } else { 1.0 };
    let scales = DVector::from_iterator(left.ncols(), (0..left.ncols()).map(|n| scale(norms(n))));
    for (n, &scale) in scales.iter().enumerate() {
        left.column_mut(n).scale_mut(scale);
        right.row_mut(n).unscale_mut(scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers without pattern, the same each time.
    fn matrix(rows: usize, columns: usize, seed: u64) -> DMatrix<f64> {
        let mut state = seed;
        DMatrix::from_fn(rows, columns, |_, _| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
        })
    }

    #[test]
    fn a_matrix_of_low_rank_is_found_again() {
        for (rows, columns, rank) in [(30, 8, 3), (8, 30, 3), (12, 12, 5), (5, 4, 4), (4, 9, 6)] {
            let product = matrix(rows, rank, 1) * matrix(rank, columns, 2);
            let factors = factor(&product, rank);
            assert_eq!(factors.left.shape(), (rows, rank));
            assert_eq!(factors.right.shape(), (rank, columns));
            assert!(factors.difference < 1e-14 * product.norm_squared(), "{}", factors.difference);
        }
    }

    /// The squared error is the sum of the squares of the singular values that are left out.
    #[test]
    fn errors_are_those_of_the_singular_values() {
        let sample = matrix(20, 11, 3);
        let values = sample.clone().svd(false, false).singular_values;
        for rank in 1..11 {
            let expected: f64 = values.iter().skip(rank).map(|value| value * value).sum();
            let found = factor(&sample, rank).difference;
            assert!(
                (found - expected).abs() < 1e-9 * sample.norm_squared(),
                "rank {rank}: {found} {expected}"
            );
            let transposed = factor(&sample.transpose(), rank).difference;
            assert!((transposed - expected).abs() < 1e-9 * sample.norm_squared(), "rank {rank}");
        }
    }

    #[test]
    fn no_projection_drawn_at_random_is_nearer() {
        let sample = matrix(24, 16, 4);
        for rank in [1, 4, 9] {
            let best = factor(&sample, rank).difference;
            for seed in 0..50 {
                let basis = matrix(24, rank, 100 + seed).qr().q();
                let rest = &sample - &basis * basis.tr_mul(&sample);
                assert!(best <= rest.norm_squared());
            }
        }
    }

    #[test]
    fn both_factors_are_of_one_size() {
        let factors = factor(&(matrix(30, 20, 5) * 1000.0), 7);
        for n in 0..7 {
            let (a, b) = (factors.left.column(n).norm(), factors.right.row(n).norm());
            assert!((a / b - 1.0).abs() < 1e-9);
        }
    }
}
