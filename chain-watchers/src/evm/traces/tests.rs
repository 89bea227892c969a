use serde_json::{Value, json};

use super::*;

fn address(byte: u8) -> Address {
    Address::repeat_byte(byte)
}

fn frame(kind: &str, to: u8, value: u64, error: Option<&str>, calls: &[Value]) -> Value {
    let mut frame = json!({
        "type": kind, "from": address(1), "to": address(to), "value": format!("{value:#x}"), "gas": "0x1", "input": "0x",
    });
    if let Some(error) = error {
        frame["error"] = json!(error);
    }
    if !calls.is_empty() {
        frame["calls"] = json!(calls);
    }
    frame
}

fn read(frame: &Value) -> Vec<(String, u8, u64)> {
    walk::below(&frame.to_string())
        .unwrap()
        .into_iter()
        .map(|inner| (inner.path, inner.to.0[0], inner.value.as_u64()))
        .collect()
}

fn found(path: &str, to: u8, value: u64) -> (String, u8, u64) {
    (path.to_owned(), to, value)
}

#[test]
fn only_calls_inside_that_stand_move_money() {
    let top = frame(
        "CALL",
        2,
        99,
        None,
        &[
            frame("CALL", 3, 5, None, &[frame("CALL", 4, 6, None, &[])]),
            frame("CALL", 5, 7, Some("execution reverted"), &[frame("CALL", 6, 8, None, &[])]),
            frame("DELEGATECALL", 7, 99, None, &[frame("CALL", 8, 9, None, &[])]),
            frame("STATICCALL", 9, 0, None, &[]),
            frame("CALLCODE", 10, 3, None, &[]),
            frame("CALL", 11, 0, None, &[]),
            frame("SELFDESTRUCT", 12, 10, None, &[]),
            frame("CREATE2", 13, 11, None, &[]),
        ],
    );
    let expected = [found("0", 3, 5), found("0.0", 4, 6), found("2.0", 8, 9), found("6", 12, 10), found("7", 13, 11)];
    assert_eq!(read(&top), expected);
}

#[test]
fn a_transaction_that_failed_moves_nothing() {
    assert_eq!(read(&frame("CALL", 2, 9, Some("out of gas"), &[frame("CALL", 3, 5, None, &[])])), []);
}

#[test]
fn calls_may_lie_as_deep_as_the_machine_allows() {
    let mut deep = frame("CALL", 3, 5, None, &[]).to_string();
    for _ in 0..1023 {
        deep = format!(r#"{{"type":"CALL","from":"{0:#x}","to":"{0:#x}","value":"0x0","calls":[{deep}]}}"#, address(9));
    }
    let traced: Traced = serde_json::from_str(&format!(r#"{{"result":{deep}}}"#)).unwrap();
    let inner = walk::below(traced.result.unwrap().get()).unwrap();
    assert_eq!(inner.len(), 1);
    assert_eq!(inner[0].path.split('.').count(), 1023);
}

#[test]
fn fields_come_in_any_order_and_large_ones_are_passed_over() {
    let (one, other) = (address(1), address(2));
    let text = format!(
        r#" {{ "calls" : [ {{"calls":[{{"value":"0x7","to":"{other:#x}","from":"{one:#x}","type":"CALL"}}],
        "output":"0x{0}","error":"reverted \"calls\":[","type":"CALL"}} , {{"logs":[{{"topics":[]}}],"gas":1,"value":"0x5",
        "error":null,"calls":null,"to":"{other:#x}","from":"{one:#x}","type":"CALL"}}], "type":"CALL" }}"#,
        "00".repeat(100_000)
    );
    let inner = walk::below(&text).unwrap();
    assert_eq!(inner, [Inner { path: "1".to_owned(), from: Some(one), to: other, value: U256::from(5) }]);
    for odd in [r#"{"calls":[5],"type":"CALL"}"#, r#"{"to":"x"}"#, "[]", "{}", r#"{"calls":[{}],"type":"CALL"}"#] {
        assert!(walk::below(odd).is_err(), "{odd}");
    }
}

#[test]
fn deep_and_large_traces_are_read_in_one_pass() {
    // Level by level this would be read a thousand times: thirty gigabytes.
    let data = format!("0x{}", "00".repeat(15_000));
    let mut deep = String::new();
    for _ in 0..1000 {
        deep.push_str(&format!(r#"{{"input":"{data}","calls":["#));
    }
    for _ in 0..1000 {
        deep.push_str(&format!(
            r#"],"type":"CALL","from":"{0:#x}","to":"{1:#x}","value":"0x1"}}"#,
            address(1),
            address(2)
        ));
    }
    let inner = walk::below(&deep).unwrap();
    assert_eq!(inner.len(), 999);
    assert!(inner.windows(2).all(|pair| pair[1].path.starts_with(&pair[0].path)));
}

#[test]
fn traces_below_a_failed_one_are_undone_though_they_do_not_say_so() {
    let transaction = H256::repeat_byte(9);
    let trace = |path: &[u32], kind: &str, to: u8, error: Option<&str>| -> Trace {
        serde_json::from_value(json!({
            "action": {"callType": "call", "from": address(1), "to": address(to), "value": "0x5", "gas": "0x0", "input": "0x"},
            "blockHash": H256::repeat_byte(8), "blockNumber": 7, "result": null, "subtraces": 0, "traceAddress": path,
            "transactionHash": transaction, "transactionPosition": 0, "type": kind, "error": error,
        }))
        .unwrap()
    };
    let mut reward = trace(&[], "reward", 6, None);
    reward.transaction_hash = None;
    let traces = [
        trace(&[], "call", 2, None),
        trace(&[0], "call", 3, Some("Reverted")),
        trace(&[0, 1], "call", 4, None),
        trace(&[0, 1, 2], "call", 4, Some("Reverted")),
        trace(&[0, 3], "call", 4, None),
        trace(&[1], "call", 5, None),
        trace(&[10, 0], "call", 7, None),
        reward,
    ];
    let paths: Vec<_> = standing(&traces).into_iter().map(|(_, inner)| (inner.path, inner.to)).collect();
    assert_eq!(paths, [("1".to_owned(), address(5)), ("10.0".to_owned(), address(7))]);
}
