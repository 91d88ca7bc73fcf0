use super::*;

/// JSON with white space wherever it may stand.
fn json() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("-1.50e3".to_owned()),
        "\\PC{0,8}".prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|list| format!("[ {}\n]", list.join(" ,"))),
            prop::collection::vec(("\\PC{0,4}", inner), 0..4).prop_map(|map| {
                let pairs = map.iter().map(|(k, v)| format!("{}\t: {v}", serde_json::to_string(k).unwrap()));
                format!("{{{} }}", pairs.collect::<Vec<_>>().join(" , "))
            }),
        ]
    })
}

proptest::proptest! {
    #[test]
    fn any_layout_means_the_same(json in json()) {
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        for indented in [false, true] {
            let text = relayout(&json, indented);
            proptest::prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&text).unwrap(), &value);
            proptest::prop_assert_eq!(relayout(&text, indented), text);
        }
    }
}
