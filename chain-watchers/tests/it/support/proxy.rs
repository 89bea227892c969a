//! A proxy in front of a real node, under the names that these tests use.

pub(crate) use wopay_testkit::{BATCH, Instead, RpcProxy as Proxy};
