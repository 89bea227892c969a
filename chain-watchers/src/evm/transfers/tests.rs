use ethers::types::Bytes;

use super::*;

fn log(topics: &[H256], data: Vec<u8>) -> NodeLog {
    NodeLog {
        address: Address::repeat_byte(1),
        topics: topics.to_vec(),
        data: Bytes::from(data),
        block_number: None,
        block_hash: None,
        transaction_hash: None,
        log_index: None,
        removed: None,
    }
}

fn word(last: u8) -> Vec<u8> {
    let mut word = vec![0; 32];
    word[31] = last;
    word
}

#[test]
fn the_topic_is_the_well_known_one() {
    let text = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
    assert_eq!(hash_text(TRANSFER.signature()), text);
}

#[test]
fn an_erc20_transfer_is_read() {
    let (from, to) = (Address::repeat_byte(2), Address::repeat_byte(3));
    let transfer = log(&[TRANSFER.signature(), from.into(), to.into()], word(9));
    assert_eq!(decode_transfer(&transfer), Some((from, to, U256::from(9))));
}

#[test]
fn an_nft_and_odd_data_are_no_transfers_of_money() {
    let party = H256::from(Address::repeat_byte(2));
    let topic = TRANSFER.signature();
    assert_eq!(decode_transfer(&log(&[topic, party, party, party], Vec::new())), None);
    assert_eq!(decode_transfer(&log(&[topic, party, party], vec![1, 2, 3])), None);
    assert_eq!(decode_transfer(&log(&[topic, party], word(1))), None);
    assert_eq!(decode_transfer(&log(&[], word(1))), None);
}

#[test]
fn the_bloom_filter_needs_contract_and_topic() {
    let token = Address::repeat_byte(7);
    let mut bloom = Bloom::default();
    bloom.accrue(BloomInput::Raw(token.as_bytes()));
    assert!(!may_hold(&bloom, &token));
    bloom.accrue(BloomInput::Raw(TRANSFER.signature().as_bytes()));
    assert!(may_hold(&bloom, &token));
    assert!(!may_hold(&bloom, &Address::repeat_byte(8)));
}
