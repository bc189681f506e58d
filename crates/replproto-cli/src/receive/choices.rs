//! The options of `replproto receive` that are a choice between words.

use clap::ValueEnum;
use replproto_core::config::{LargeRecord, Mode};
use replproto_tokio::{OnGap, OnWider};

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "UPPER")]
pub(super) enum ModeArg {
    A,
    B,
}

impl From<ModeArg> for Mode {
    fn from(choice: ModeArg) -> Self {
        match choice {
            ModeArg::A => Self::A,
            ModeArg::B => Self::B,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum OnGapArg {
    Copy,
    Keep,
    Stop,
}

impl From<OnGapArg> for OnGap {
    fn from(on_gap: OnGapArg) -> Self {
        match on_gap {
            OnGapArg::Copy => Self::Copy,
            OnGapArg::Keep => Self::Keep,
            OnGapArg::Stop => Self::Stop,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum OnWiderArg {
    Copy,
    Refuse,
    Ignore,
}

impl From<OnWiderArg> for OnWider {
    fn from(on_wider: OnWiderArg) -> Self {
        match on_wider {
            OnWiderArg::Copy => Self::Copy,
            OnWiderArg::Refuse => Self::Refuse,
            OnWiderArg::Ignore => Self::Ignore,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LargeRecordArg {
    Skip,
    End,
}

impl From<LargeRecordArg> for LargeRecord {
    fn from(choice: LargeRecordArg) -> Self {
        match choice {
            LargeRecordArg::Skip => Self::Skip,
            LargeRecordArg::End => Self::EndLink,
        }
    }
}
