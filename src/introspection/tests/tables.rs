//! The tables stay within their bounds, and hold what was put last.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::table::{Digest, Table};

#[derive(Debug, Clone)]
enum Op {
    Put(u8, u32, usize),
    Remove(u8),
    DropBelow(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (0_u8..40, any::<u32>(), 0_usize..3000).prop_map(|(key, value, bytes)| Op::Put(key, value, bytes)),
        1 => (0_u8..40).prop_map(Op::Remove),
        1 => any::<u32>().prop_map(Op::DropBelow),
    ]
}

proptest! {
    #[test]
    fn a_table_is_bounded_and_returns_only_what_was_put_last(ops in proptest::collection::vec(op(), 0..400)) {
        let mut table: Table<u32> = Table::new(16, 8000);
        let mut model: HashMap<u8, u32> = HashMap::new();
        let key = |key: u8| -> Digest { [key; 32] };
        for op in ops {
            match op {
                Op::Put(at, value, bytes) => {
                    table.put(key(at), std::sync::Arc::new(value), bytes);
                    model.insert(at, value);
                    if bytes < 1000 {
                        prop_assert_eq!(table.get(&key(at)).map(|value| **value), Some(value));
                    }
                }
                Op::Remove(at) => {
                    table.remove(&key(at));
                    model.remove(&at);
                }
                Op::DropBelow(bound) => table.remove_while(|value| *value < bound),
            }
            let (entries, bytes, order) = table.sizes();
            prop_assert!(entries <= 16 && bytes <= 8000 && order <= 2 * entries + 65);
            for at in 0..40 {
                if let Some(value) = table.get(&key(at)) {
                    prop_assert_eq!(Some(&**value), model.get(&at));
                }
            }
        }
    }
}
