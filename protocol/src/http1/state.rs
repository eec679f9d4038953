//! Every state of an HTTP/1.1 connection and every way between them. All transitions live in this file, and
//! nothing else does.
//!
//! # Theory
//!
//! A connection carries one exchange after another. In each, two things go on that hardly depend on each other:
//! we *receive* a request and we *send* a response. Each is a small machine of its own; the few rules that tie
//! them together are the *joint* rules. (RFC 9112 §9; the idea of two half-machines is h11's.)
//!
//! ## Half-machines
//!
//! An event moves one half or both. A row says: in this state, on this event, go there; the other half is as
//! its own rows say, and a half without a row for the event does not accept it. `*` stands for "unchanged".
//!
//! | half    | state    | event             | becomes  |
//! |---------|----------|-------------------|----------|
//! | Receive | Idle     | Head              | Complete |
//! | Receive | Idle     | HeadWithContent   | Content  |
//! | Receive | Content  | ContentEnd        | Complete |
//! | Receive | Idle     | RequestError      | Failed   |
//! | Receive | Content  | RequestError      | Failed   |
//! | Receive | Idle     | EndOfStream       | Closed   |
//! | Receive | Content  | EndOfStream       | Closed   |
//! | Receive | Content  | Response          | *        |
//! | Receive | Complete | Response          | *        |
//! | Receive | Failed   | Response          | *        |
//! | Receive | Content  | ResponseNoContent | *        |
//! | Receive | Complete | ResponseNoContent | *        |
//! | Receive | Failed   | ResponseNoContent | *        |
//! | Receive | Content  | ResponseEnd       | *        |
//! | Receive | Complete | ResponseEnd       | *        |
//! | Receive | Failed   | ResponseEnd       | *        |
//! | Send    | Idle     | Head              | Owed     |
//! | Send    | Idle     | HeadWithContent   | Owed     |
//! | Send    | Complete | ContentEnd        | *        |
//! | Send    | Idle     | RequestError      | Owed     |
//! | Send    | Complete | RequestError      | *        |
//! | Send    | Idle     | EndOfStream       | *        |
//! | Send    | Complete | EndOfStream       | *        |
//! | Send    | Owed     | Response          | Content  |
//! | Send    | Owed     | ResponseNoContent | Complete |
//! | Send    | Content  | ResponseEnd       | Complete |
//!
//! Content is received only after the response has been sent: a file server's answer never depends on it, and
//! nothing is read ahead while output is blocked.
//!
//! `RequestError` and `EndOfStream` also lower the persistence to `Close`; it never rises within a connection.
//!
//! ## Joint rules
//!
//! What the two halves together ask for next. `any` stands for every state not named in a row above.
//!
//! | receive  | send     | persistence | next     |
//! |----------|----------|-------------|----------|
//! | Idle     | Idle     | Persistent  | Receive  |
//! | Idle     | Idle     | Close       | Receive  |
//! | any      | Owed     | any         | Answer   |
//! | any      | Content  | any         | Send     |
//! | Complete | Complete | Persistent  | Exchange |
//! | Complete | Complete | Close       | Close    |
//! | Content  | Complete | Persistent  | Drain    |
//! | Content  | Complete | Close       | Linger   |
//! | Failed   | Complete | any         | Linger   |
//! | any      | any      | any         | Close    |
//!
//! `Linger`: unread input is left, and closing over it would make the kernel send a RST that can eat the answer
//! on its way (RFC 9112 §9.6).

/// What has been received of the current request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receive {
    /// Nothing, or part of a head.
    Idle,
    /// A head; its content is not all here.
    Content,
    /// The whole request.
    Complete,
    /// Something that is no request, or one beyond a limit. Nothing after it can be trusted.
    Failed,
    /// The peer will send no more.
    Closed,
}

/// What has been sent of the current response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Send {
    /// Nothing is asked for.
    Idle,
    /// A response is owed; nothing of it is decided.
    Owed,
    /// The head is on its way; content follows.
    Content,
    /// All of it is on its way.
    Complete,
}

/// Whether the connection outlives the current exchange (RFC 9112 §9.3). Only ever falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Another request may follow.
    Persistent,
    /// This exchange is the last.
    Close,
}

/// Something that happened on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request head without content was decoded.
    Head,
    /// A request head that announces content was decoded.
    HeadWithContent,
    /// The last byte of request content was read.
    ContentEnd,
    /// The request, or its content, is malformed, beyond a limit, or too late.
    RequestError,
    /// The peer closed its sending side.
    EndOfStream,
    /// A response head with content behind it was put out.
    Response,
    /// A whole response without content, or with its content, was put out.
    ResponseNoContent,
    /// The last byte of response content was put out.
    ResponseEnd,
}

/// What to do next on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read a request head.
    Receive,
    /// Decide and put out the response.
    Answer,
    /// Go on with the response's content.
    Send,
    /// Read the request's content and throw it away.
    Drain,
    /// Begin another exchange; bytes already read are decoded first.
    Exchange,
    /// Stop sending, read until the peer is done or a deadline passes, then close.
    Linger,
    /// Close.
    Close,
}

/// Both half-machines and the persistence they share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    receive: Receive,
    send: Send,
    persistence: Persistence,
}

impl State {
    /// A connection on which nothing has happened.
    pub const NEW: Self =
        Self { receive: Receive::Idle, send: Send::Idle, persistence: Persistence::Persistent };

    /// The state after `event`, or `None` if one of the halves does not accept it.
    #[must_use]
    pub const fn after(self, event: Event) -> Option<Self> {
        match (self.receive.after(event), self.send.after(event)) {
            (Some(receive), Some(send)) => {
                let persistence = match event {
                    Event::RequestError | Event::EndOfStream => Persistence::Close,
                    _ => self.persistence,
                };
                Some(Self { receive, send, persistence })
            }
            _ => None,
        }
    }

    /// What the halves together ask for.
    #[must_use]
    pub const fn next(self) -> Next {
        match (self.receive, self.send, self.persistence) {
            (Receive::Idle, Send::Idle, _) => Next::Receive,
            (_, Send::Owed, _) => Next::Answer,
            (_, Send::Content, _) => Next::Send,
            (Receive::Complete, Send::Complete, Persistence::Persistent) => Next::Exchange,
            (Receive::Complete, Send::Complete, Persistence::Close) => Next::Close,
            (Receive::Content, Send::Complete, Persistence::Persistent) => Next::Drain,
            (Receive::Content, Send::Complete, Persistence::Close) | (Receive::Failed, Send::Complete, _) => {
                Next::Linger
            }
            _ => Next::Close,
        }
    }

    /// Makes the current exchange the last.
    pub const fn close_after(&mut self) {
        self.persistence = Persistence::Close;
    }

    /// Whether the connection outlives the current exchange.
    #[must_use]
    pub const fn persistence(self) -> Persistence {
        self.persistence
    }
}

impl Receive {
    const fn after(self, event: Event) -> Option<Self> {
        match (self, event) {
            (Self::Idle, Event::Head) | (Self::Content, Event::ContentEnd) => Some(Self::Complete),
            (Self::Idle, Event::HeadWithContent) => Some(Self::Content),
            (Self::Idle | Self::Content, Event::RequestError) => Some(Self::Failed),
            (Self::Idle | Self::Content, Event::EndOfStream) => Some(Self::Closed),
            (
                Self::Content | Self::Complete | Self::Failed,
                Event::Response | Event::ResponseNoContent | Event::ResponseEnd,
            ) => Some(self),
            _ => None,
        }
    }
}

impl Send {
    const fn after(self, event: Event) -> Option<Self> {
        match (self, event) {
            (Self::Idle, Event::Head | Event::HeadWithContent | Event::RequestError) => Some(Self::Owed),
            (Self::Complete, Event::ContentEnd | Event::RequestError)
            | (Self::Idle | Self::Complete, Event::EndOfStream) => Some(self),
            (Self::Owed, Event::Response) => Some(Self::Content),
            (Self::Owed, Event::ResponseNoContent) | (Self::Content, Event::ResponseEnd) => {
                Some(Self::Complete)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECEIVES: [Receive; 5] =
        [Receive::Idle, Receive::Content, Receive::Complete, Receive::Failed, Receive::Closed];
    const SENDS: [Send; 4] = [Send::Idle, Send::Owed, Send::Content, Send::Complete];
    const PERSISTENCES: [Persistence; 2] = [Persistence::Persistent, Persistence::Close];
    const EVENTS: [Event; 8] = [
        Event::Head,
        Event::HeadWithContent,
        Event::ContentEnd,
        Event::RequestError,
        Event::EndOfStream,
        Event::Response,
        Event::ResponseNoContent,
        Event::ResponseEnd,
    ];

    /// The rows of the documented table whose header begins with `first`, cell by cell.
    fn documented(first: &str) -> Vec<[String; 4]> {
        let doc = include_str!("state.rs").lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
        let mut rows = doc.skip_while(|line| !line.starts_with(&format!("| {first}"))).skip(2);
        let mut table = Vec::new();
        while let Some(row) = rows.next().filter(|line| line.starts_with('|')) {
            let cells: Vec<String> =
                row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
            table.push(cells.try_into().expect("four cells"));
        }
        table
    }

    /// What the table says of one half: the state it becomes, or `None` where there is no row.
    fn becomes(table: &[[String; 4]], half: &str, state: &str, event: &str) -> Option<String> {
        let row = table.iter().find(|row| row[0] == half && row[1] == state && row[2] == event)?;
        Some(if row[3] == "*" { state.to_owned() } else { row[3].clone() })
    }

    #[test]
    fn every_transition_is_the_documented_one() {
        let table = documented("half");
        assert_eq!(table.len(), 26);
        for event in EVENTS {
            let name = format!("{event:?}");
            for state in RECEIVES {
                let coded = state.after(event).map(|state| format!("{state:?}"));
                assert_eq!(
                    coded,
                    becomes(&table, "Receive", &format!("{state:?}"), &name),
                    "{state:?} {name}"
                );
            }
            for state in SENDS {
                let coded = state.after(event).map(|state| format!("{state:?}"));
                assert_eq!(coded, becomes(&table, "Send", &format!("{state:?}"), &name), "{state:?} {name}");
            }
        }
    }

    #[test]
    fn every_joint_rule_is_the_documented_one() {
        let table = documented("receive");
        assert_eq!(table.len(), 10);
        let fits = |cell: &str, state: String| cell == "any" || cell == state;
        for receive in RECEIVES {
            for send in SENDS {
                for persistence in PERSISTENCES {
                    let row = table.iter().find(|row| {
                        fits(&row[0], format!("{receive:?}"))
                            && fits(&row[1], format!("{send:?}"))
                            && fits(&row[2], format!("{persistence:?}"))
                    });
                    let state = State { receive, send, persistence };
                    assert_eq!(
                        row.map(|row| row[3].clone()),
                        Some(format!("{:?}", state.next())),
                        "{state:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn no_reachable_state_is_stuck() {
        let mut reached = vec![State::NEW];
        let mut at = 0;
        while let Some(&state) = reached.get(at) {
            let mut onward: Vec<State> = EVENTS.iter().filter_map(|&event| state.after(event)).collect();
            let mut closing = state;
            closing.close_after();
            onward.push(closing);
            reached
                .extend(onward.iter().copied().filter(|state| !reached.contains(state)).collect::<Vec<_>>());
            reached.dedup();
            let moves = EVENTS.iter().any(|&event| state.after(event).is_some());
            let ends = matches!(state.next(), Next::Close | Next::Linger | Next::Exchange);
            assert!(moves || ends, "{state:?} accepts nothing and ends nowhere");
            at += 1;
        }
        assert!(reached.len() > 10, "only {} states are reachable", reached.len());
    }

    #[test]
    fn persistence_only_falls() {
        for receive in RECEIVES {
            for send in SENDS {
                for event in EVENTS {
                    let closing = State { receive, send, persistence: Persistence::Close };
                    if let Some(after) = closing.after(event) {
                        assert_eq!(after.persistence(), Persistence::Close);
                    }
                }
            }
        }
    }
}
