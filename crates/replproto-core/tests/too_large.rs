//! A message that the adapter refuses because of its size.

use replproto_core::error::Oversize;
use replproto_core::{
    CloseReason, Command, Config, Epoch, Input, Instant, LinkError, Receiver, Start,
};

#[test]
fn a_message_that_was_refused_ends_the_link_with_1009() {
    let config = Config::new("us", "data");
    let limit = config.limits.message;
    let now = Instant::ZERO;
    let mut receiver = Receiver::new(config, Start::Copy, Epoch(1), now).unwrap();
    receiver.handle(now, Input::Connected).unwrap();
    let bytes = limit + 5;
    receiver.handle(now, Input::TooLarge { bytes }).unwrap();
    let mut last = None;
    while let Some(command) = receiver.poll_command() {
        last = Some(command);
    }
    let Some(Command::Close(close)) = last else {
        panic!("the last command is {last:?}");
    };
    assert_eq!(close.frame.unwrap().code, Some(1009));
    assert_eq!(
        close.reason,
        CloseReason::Error(LinkError::TooLarge {
            message: 0,
            what: Oversize::Message,
            limit,
            actual: bytes,
        })
    );
}
