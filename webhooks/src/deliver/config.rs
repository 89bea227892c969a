//! The deliverer's settings, each with the value that fits a default installation.

use std::time::Duration;

use crate::receiver::Policy;
use crate::retry::RetrySchedule;

/// How webhooks are delivered. The limits hold for each process.
#[derive(Debug, Clone)]
pub struct DelivererConfig {
    /// Where webhooks may go.
    pub policy: Policy,
    /// When failed deliveries are tried again.
    pub schedule: RetrySchedule,
    /// The most time for one attempt: name resolution, connection, request and answer, body included.
    pub attempt_timeout: Duration,
    /// How much longer than an attempt its claim lasts. When a process dies, its deliveries are made by others after
    /// `attempt_timeout` and this.
    pub lease_margin: Duration,
    /// Attempts in flight.
    pub in_flight_max: u32,
    /// Attempts in flight for one merchant.
    pub in_flight_merchant_max: u32,
    /// Attempts in flight for one merchant at one scheme, host and port.
    pub in_flight_lane_max: u32,
    /// Attempts in flight, taken together, at receivers whose last answer did not come; each of them gets one.
    pub in_flight_suspect_max: u32,
    /// The longest pause between two looks at what is due, for the case that nobody wakes us.
    pub poll_interval: Duration,
    /// How long attempts in flight may go on when the process is to stop.
    pub drain: Duration,
}

impl Default for DelivererConfig {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            schedule: RetrySchedule::default(),
            attempt_timeout: Duration::from_secs(15),
            lease_margin: Duration::from_secs(15),
            in_flight_max: 256,
            in_flight_merchant_max: 64,
            in_flight_lane_max: 32,
            in_flight_suspect_max: 128,
            poll_interval: Duration::from_millis(250),
            drain: Duration::from_secs(5),
        }
    }
}
