//! Tables of functions, each argument and value in one number:
//!
//! ```text
//! e_t = t + 2^k (f(lo + t) - least f)        t in 0..rows, 2^k >= rows
//! ```
//!
//! A lookup proves `x - lo + 2^k (y - least f) = e_t` for some `t`. It says `y = f(x)` only where `x - lo` is known to be
//! in `0..rows` (the graph's static ranges, which every solution keeps) and `y` to be a small number (a range of its
//! own, see [`super::cells`]): then `2^k (y - f(lo + t)) = t - (x - lo)` is over integers, and its right side is less
//! than `2^k`.

use crate::ir::{Graph, Op, Table};

/// The tables of a graph; equal ones occur once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Functions {
    tables: Vec<Table>,
    /// The function of each `Table` node, by node.
    of_node: Vec<Option<u32>>,
}

impl Functions {
    /// The functions of a graph, in the order of their first use.
    pub fn of(graph: &Graph) -> Self {
        let mut functions = Self::default();
        for node in graph.nodes() {
            let Op::Table(table) = &node.op else {
                functions.of_node.push(None);
                continue;
            };
            let known = functions.tables.iter().position(|other| other == table);
            let index = known.unwrap_or_else(|| {
                functions.tables.push(table.clone());
                functions.tables.len() - 1
            });
            functions.of_node.push(Some(index as u32));
        }
        functions
    }

    /// Number of different functions.
    pub fn len(&self) -> usize {
        self.tables.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Rows of all of them.
    pub fn rows(&self) -> usize {
        self.sizes().sum()
    }

    /// Rows of each.
    pub fn sizes(&self) -> impl Iterator<Item = usize> + '_ {
        self.tables.iter().map(|table| table.values.len())
    }

    /// The number of a node's function; `None` for another operator.
    pub fn index(&self, node: usize) -> Option<usize> {
        self.of_node.get(node).copied().flatten().map(|index| index as usize)
    }

    /// The rows of all tables, one table after another.
    pub fn values(&self) -> impl Iterator<Item = i64> + '_ {
        self.tables.iter().flat_map(rows)
    }

    /// The first row of each table.
    pub fn first_values(&self) -> impl Iterator<Item = i64> + '_ {
        self.tables.iter().filter_map(|table| rows(table).next())
    }
}

fn rows(table: &Table) -> impl Iterator<Item = i64> + '_ {
    let (factor, least) = (1i64 << value_shift(table), table.range().lo);
    table.values.iter().zip(0i64..).map(move |(&value, row)| row + factor * (i64::from(value) - least))
}

/// `k`: the value's place above the argument.
pub fn value_shift(table: &Table) -> u32 {
    table.values.len().next_power_of_two().trailing_zeros()
}

#[cfg(test)]
mod tests {
    use ark_bn254::Fr;
    use ark_ff::{Field, PrimeField};

    use super::*;

    #[test]
    fn a_fraction_fits_a_table_and_is_out_of_range() {
        let table = Table { lo: -8, values: (-8..8).map(|x| 107 - x * x / 8).collect() };
        let least = Fr::from(table.range().lo);
        let factor = Fr::from(1u64 << value_shift(&table));
        // The argument is row 3, the row looked up is row 5: y = f(5) + (5 - 3) / 2^k, a fraction.
        let encoded = Fr::from(5u64) + factor * (Fr::from(table.values[5]) - least);
        let y = (encoded - Fr::from(3u64)) * factor.inverse().expect("not 0") + least;
        assert_eq!(Fr::from(3u64) + factor * (y - least), encoded, "the lookup alone lets it pass");
        assert_ne!(y, Fr::from(table.values[3]));
        let over = (y - least).into_bigint();
        assert!(over > Fr::from(u64::MAX).into_bigint(), "a range of any width refuses it");
    }

    #[test]
    fn rows_of_a_table_are_distinct_and_equal_tables_are_one() {
        let graph = crate::samples::function();
        let functions = Functions::of(&graph);
        assert_eq!((functions.len(), functions.rows()), (1, 16));
        let mut rows: Vec<i64> = functions.values().collect();
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), 16);
        let chain = crate::samples::Chain::new(vec![1, 1], 0, 1).table(0, vec![1, 0]).table(0, vec![1, 0]);
        let graph = chain.requantize(1, 0, 1).graph().expect("valid");
        let functions = Functions::of(&graph);
        assert_eq!((functions.len(), functions.index(0), functions.index(1)), (1, Some(0), Some(0)));
    }
}
