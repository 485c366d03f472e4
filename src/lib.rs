//! hashgate: an S3-compatible reverse proxy that hashes every upload while streaming it on, holds its end back until the
//! digest has been looked up in lists of known illegal files, and then lets it go or refuses it.
//!
//! The modules stand in the order in which an upload meets them; data takes one way through the house, forward.
//!
//! - [`upload`] tells the story of one request; [`multipart`] that of an object in parts; [`relay`] is everything else.
//! - [`listen`] accepts, [`route`] tells what is asked, [`authenticate`] who asks, [`inspect`] hashes what passes,
//!   [`decide`] gives the verdict, [`forward`] holds the end and releases it, [`act`] does what a verdict asks beyond
//!   that, [`record`] writes it down, [`answer`] speaks to the client.
//! - [`s3`] is the vocabulary of the wire, [`digest`] of digests, [`list`] keeps the lists, [`ask`] asks services instead, [`web`] reaches the services that they
//!   come from, [`signing`] is what the gate signs with, [`error`] is the one table of
//!   everything that can fail.
//!
//! What is absent: nothing in [`decide`], [`s3`], [`route`] and [`digest`] reads a clock, a socket or a file. Nothing but
//! [`decide::verdict`] makes a [`decide::Clear`], and nothing but [`forward::release`] uses one up. No module keeps a
//! whole upload in memory. No `unsafe` but in [`list::index::map`], which maps files.

pub mod act;
pub mod admin;
pub mod answer;
pub mod ask;
pub mod authenticate;
pub mod cli;
pub mod config;
pub mod copying;
pub mod decide;
pub mod digest;
pub mod error;
pub mod forward;
pub mod gate;
pub mod inspect;
pub mod list;
pub mod listen;
pub mod multipart;
pub mod record;
pub mod relay;
pub mod route;
pub mod s3;
pub mod serve;
pub mod signing;
pub mod upload;
pub mod web;
