//! Owns the datasets of conversations: one file per kind, each giving the turns of a conversation with
//! what the dataset says of them.
//!
//! It must not know how turns are sent, nor what a server responds.

mod custom;
mod exchange;
mod messages;
mod random_turns;
mod share_gpt_turns;
mod swe_prebuilt;
mod swe_trajectories;
mod trie;

#[cfg(test)]
mod tests;

pub use custom::{CustomMultiTurn, DelayUnit};
pub use exchange::{Exchange, Replies, session};
pub use random_turns::{RandomTurns, TurnNumbers};
pub use share_gpt_turns::ShareGptMultiTurn;
pub use swe_prebuilt::SwePrebuilt;
pub use swe_trajectories::{SweArgs, SweTrajectories};
pub use trie::{Trie, TrieWorkload};
