//! A real local Solana network.

use std::fs::File;
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use solana_client::nonblocking::rpc_client::RpcClient;
use solana_client::rpc_request::RpcRequest;
use solana_commitment_config::CommitmentConfig;
use solana_instruction::Instruction;
use solana_keypair::Keypair;
use solana_pubkey::Pubkey;
use solana_signer::Signer;
use solana_system_interface::instruction as system;
use solana_transaction::Transaction;
use spl_associated_token_account_interface::address::get_associated_token_address_with_program_id;
use spl_associated_token_account_interface::instruction::create_associated_token_account_idempotent;
use spl_token_2022_interface::extension::ExtensionType;
use spl_token_2022_interface::instruction as token;
use spl_token_2022_interface::state::Mint;
use tempfile::TempDir;
use wopay_private_services::{Signal, SuperviseOptions, Supervised};

use crate::tools::surfpool_binary;

const READY_WITHIN: Duration = Duration::from_secs(60);
const CONFIRMED_WITHIN: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(2);
/// Of an account of a token without extensions.
const TOKEN_ACCOUNT_BYTES: usize = 165;

/// Slots of a test network, in milliseconds: what is sent is final (31 blocks later) within a second.
pub const SLOT_MS: u64 = 20;

/// A running network; dies with this value or with the test process.
pub struct Surfpool {
    /// `http://127.0.0.1:<port>`
    pub url: String,
    client: RpcClient,
    /// Has 100,000 SOL.
    payer: Keypair,
    /// `None` while it is down.
    server: Option<Supervised>,
    _dir: TempDir,
}

/// Which program a token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenProgram {
    /// SPL Token.
    Token,
    /// Token-2022, without extensions.
    Token2022,
    /// Token-2022 with a transfer fee of one percent.
    WithFee,
    /// Token-2022 with a permanent delegate, who can take everything back.
    WithDelegate,
}

/// A mint that the payer may mint from.
#[derive(Clone, Debug)]
pub struct SplToken {
    /// Base58.
    pub mint: String,
    program: Pubkey,
    decimals: u8,
}

/// Starts a network whose slots last [`SLOT_MS`].
pub async fn surfpool() -> Surfpool {
    let dir = tempfile::Builder::new().prefix("wopay-test-surfpool-").tempdir().unwrap();
    let (out, log) = (dir.path().join("out"), dir.path().join("log"));
    let mut server = Supervised::spawn(SuperviseOptions {
        program: surfpool_binary(),
        args: vec![SLOT_MS.to_string().into()],
        env: vec![("HOME".into(), dir.path().into())],
        stdout: File::create(&out).unwrap(),
        stderr: File::create(&log).unwrap(),
        stop: Signal::Kill,
        grace: GRACE,
        remove_when_stopped: None,
    })
    .unwrap();
    let deadline = Instant::now() + READY_WITHIN;
    let ready = loop {
        let text = std::fs::read_to_string(&out).unwrap();
        if text.ends_with('\n') {
            break serde_json::from_str::<Value>(&text).unwrap();
        }
        let ended = server.try_wait().unwrap().is_some();
        assert!(!ended && Instant::now() < deadline, "no surfpool: {}", std::fs::read_to_string(&log).unwrap());
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let url = ready["rpc"].as_str().unwrap().to_owned();
    let payer: Vec<u8> =
        ready["payer"].as_array().unwrap().iter().map(|b| b.as_u64().unwrap().try_into().unwrap()).collect();
    let client = RpcClient::new_with_commitment(url.clone(), CommitmentConfig::confirmed());
    Surfpool { url, client, payer: Keypair::try_from(payer.as_slice()).unwrap(), server: Some(server), _dir: dir }
}

impl Surfpool {
    /// The payer's address.
    #[must_use]
    pub fn payer(&self) -> String {
        self.payer.pubkey().to_string()
    }

    /// The newest slot that is `confirmed`.
    pub async fn slot(&self) -> u64 {
        self.client.get_slot().await.unwrap()
    }

    /// The cluster's genesis hash, base58.
    pub async fn genesis_hash(&self) -> String {
        self.client.get_genesis_hash().await.unwrap().to_string()
    }

    /// Sends lamports and waits until that is confirmed. The signature.
    pub async fn pay(&self, to: &str, lamports: u64) -> String {
        self.pay_many(&[(to, lamports)]).await
    }

    /// Sends lamports to several, or to one several times, in one transaction.
    pub async fn pay_many(&self, payments: &[(&str, u64)]) -> String {
        let from = self.payer.pubkey();
        let transfers: Vec<_> =
            payments.iter().map(|(to, lamports)| system::transfer(&from, &key(to), *lamports)).collect();
        self.send(&transfers, &[]).await
    }

    /// A transaction that pays and then fails, so that nothing moves but its fee. The signature.
    pub async fn pay_in_vain(&self, to: &str, lamports: u64) -> String {
        let from = self.payer.pubkey();
        let too_much = system::transfer(&from, &key(to), u64::MAX / 2);
        let transaction = self.transaction(&[system::transfer(&from, &key(to), lamports), too_much], &[]).await;
        let options =
            solana_client::rpc_config::RpcSendTransactionConfig { skip_preflight: true, ..Default::default() };
        let signature = self.client.send_transaction_with_config(&transaction, options).await.unwrap();
        self.wait_for(&signature).await;
        signature.to_string()
    }

    /// A new mint.
    pub async fn mint(&self, decimals: u8, program: TokenProgram) -> SplToken {
        let (id, extensions) = match program {
            TokenProgram::Token => (spl_token_interface::id(), Vec::new()),
            TokenProgram::Token2022 => (spl_token_2022_interface::id(), Vec::new()),
            TokenProgram::WithFee => (spl_token_2022_interface::id(), vec![ExtensionType::TransferFeeConfig]),
            TokenProgram::WithDelegate => (spl_token_2022_interface::id(), vec![ExtensionType::PermanentDelegate]),
        };
        let (mint, payer) = (Keypair::new(), self.payer.pubkey());
        let bytes = ExtensionType::try_calculate_account_len::<Mint>(&extensions).unwrap();
        let rent = self.client.get_minimum_balance_for_rent_exemption(bytes).await.unwrap();
        let mut steps = vec![system::create_account(&payer, &mint.pubkey(), rent, u64::try_from(bytes).unwrap(), &id)];
        match program {
            TokenProgram::Token | TokenProgram::Token2022 => {}
            TokenProgram::WithFee => steps.push(
                spl_token_2022_interface::extension::transfer_fee::instruction::initialize_transfer_fee_config(
                    &id,
                    &mint.pubkey(),
                    Some(&payer),
                    Some(&payer),
                    100,
                    u64::MAX,
                )
                .unwrap(),
            ),
            TokenProgram::WithDelegate => {
                steps.push(token::initialize_permanent_delegate(&id, &mint.pubkey(), &payer).unwrap());
            }
        }
        steps.push(token::initialize_mint2(&id, &mint.pubkey(), &payer, None, decimals).unwrap());
        self.send(&steps, &[&mint]).await;
        SplToken { mint: mint.pubkey().to_string(), program: id, decimals }
    }

    /// Gives the owner so many minor units of the token, to its associated account, by a transfer from the payer. The
    /// signature.
    pub async fn pay_token(&self, mint: &SplToken, owner: &str, minor: u64) -> String {
        let (id, payer, address) = (mint.program, self.payer.pubkey(), key(&mint.mint));
        let from = get_associated_token_address_with_program_id(&payer, &address, &id);
        let to = get_associated_token_address_with_program_id(&key(owner), &address, &id);
        let ready = [
            create_associated_token_account_idempotent(&payer, &payer, &address, &id),
            token::mint_to(&id, &address, &from, &payer, &[], minor).unwrap(),
            create_associated_token_account_idempotent(&payer, &key(owner), &address, &id),
        ];
        self.send(&ready, &[]).await;
        let transfer = token::transfer_checked(&id, &from, &address, &to, &payer, &[], minor, mint.decimals).unwrap();
        self.send(&[transfer], &[]).await
    }

    /// Pays a token into a new account of the owner that is not its associated one. Returns the account.
    pub async fn pay_token_aside(&self, mint: &SplToken, owner: &str, minor: u64) -> String {
        let (id, payer, address, account) = (mint.program, self.payer.pubkey(), key(&mint.mint), Keypair::new());
        let rent = self.client.get_minimum_balance_for_rent_exemption(TOKEN_ACCOUNT_BYTES).await.unwrap();
        let bytes = u64::try_from(TOKEN_ACCOUNT_BYTES).unwrap();
        let steps = [
            system::create_account(&payer, &account.pubkey(), rent, bytes, &id),
            token::initialize_account3(&id, &account.pubkey(), &address, &key(owner)).unwrap(),
            token::mint_to(&id, &address, &account.pubkey(), &payer, &[], minor).unwrap(),
        ];
        self.send(&steps, &[&account]).await;
        account.pubkey().to_string()
    }

    /// Has an account hold so many lamports, by no transaction.
    pub async fn set_balance(&self, of: &str, lamports: u64) {
        let request = RpcRequest::Custom { method: "surfnet_setAccount" };
        let _: Value = self.client.send(request, json!([of, { "lamports": lamports }])).await.unwrap();
    }

    /// Lamports of an address, none if there is no such account; as of what is confirmed.
    pub async fn balance(&self, of: &str) -> u64 {
        self.client.get_balance(&key(of)).await.unwrap()
    }

    /// Minor units of the token in the owner's associated account, which must be there; as of what is confirmed.
    pub async fn token_balance(&self, mint: &SplToken, owner: &str) -> u64 {
        let account = get_associated_token_address_with_program_id(&key(owner), &key(&mint.mint), &mint.program);
        self.client.get_token_account_balance(&account).await.unwrap().amount.parse().unwrap()
    }

    /// Lets the node hang: connections are accepted and nothing answers.
    pub fn pause(&mut self) {
        self.server.as_mut().expect("surfpool is running").signal(Signal::Stop).unwrap();
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&mut self) {
        self.server.as_mut().expect("surfpool is running").signal(Signal::Continue).unwrap();
    }

    async fn transaction(&self, instructions: &[Instruction], signers: &[&Keypair]) -> Transaction {
        let blockhash = self.client.get_latest_blockhash().await.unwrap();
        let signers: Vec<&Keypair> = std::iter::once(&self.payer).chain(signers.iter().copied()).collect();
        Transaction::new_signed_with_payer(instructions, Some(&self.payer.pubkey()), &signers, blockhash)
    }

    async fn send(&self, instructions: &[Instruction], signers: &[&Keypair]) -> String {
        let transaction = self.transaction(instructions, signers).await;
        let signature = self.client.send_transaction(&transaction).await.unwrap();
        assert!(self.wait_for(&signature).await, "{signature} failed");
        signature.to_string()
    }

    /// Waits until the transaction is confirmed. Whether it succeeded.
    async fn wait_for(&self, signature: &solana_signature::Signature) -> bool {
        let deadline = Instant::now() + CONFIRMED_WITHIN;
        loop {
            let statuses = self.client.get_signature_statuses(&[*signature]).await.unwrap();
            if let Some(status) = &statuses.value[0]
                && status.satisfies_commitment(CommitmentConfig::confirmed())
            {
                return status.err.is_none();
            }
            assert!(Instant::now() < deadline, "{signature} is not confirmed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Surfpool {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take()
            && let Err(error) = server.kill_blocking()
        {
            eprintln!("{error}");
        }
    }
}

fn key(text: &str) -> Pubkey {
    Pubkey::from_str(text).unwrap_or_else(|error| panic!("{text:?} is no address: {error}"))
}
