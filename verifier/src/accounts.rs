//! Balances: base units move, appear or go, and a rule that may not do so changes nothing.
//!
//! ```text
//! balances + locks = genesis + minted - burned          after every block
//! ```

use assay_proto::PublicKey;

use crate::error::Reason;
use crate::state::{Account, State};

/// Moves base units between accounts, or nothing.
pub(crate) fn pay(state: &mut State, from: PublicKey, to: PublicKey, amount: u64) -> Result<(), Reason> {
    let left = afford(state, from, amount)?;
    if from == to || amount == 0 {
        return Ok(());
    }
    credit(state, to, amount)?;
    state.accounts.entry(from).or_default().balance = left;
    Ok(())
}

/// Adds to an account, or nothing.
pub(crate) fn credit(state: &mut State, to: PublicKey, amount: u64) -> Result<(), Reason> {
    let Account { balance, .. } = state.account(&to);
    let sum = balance.checked_add(amount).ok_or(Reason::Overflow("a balance"))?;
    if amount > 0 {
        state.accounts.entry(to).or_default().balance = sum;
    }
    Ok(())
}

/// Takes from an account, or nothing.
pub(crate) fn debit(state: &mut State, from: PublicKey, amount: u64) -> Result<(), Reason> {
    let left = afford(state, from, amount)?;
    if amount > 0 {
        state.accounts.entry(from).or_default().balance = left;
    }
    Ok(())
}

/// Takes base units of an account out of circulation, or none.
pub(crate) fn burn(state: &mut State, from: PublicKey, amount: u64) -> Result<(), Reason> {
    let burned = state.supply.burned.checked_add(amount).ok_or(Reason::Overflow("what was burned"))?;
    debit(state, from, amount)?;
    state.supply.burned = burned;
    Ok(())
}

/// What an account has left after it paid.
fn afford(state: &State, from: PublicKey, amount: u64) -> Result<u64, Reason> {
    let balance = state.account(&from).balance;
    balance.checked_sub(amount).ok_or(Reason::Balance { account: from, balance, needed: amount })
}
