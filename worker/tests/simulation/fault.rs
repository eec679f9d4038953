//! What can go wrong in a life.

/// What goes wrong in a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The peer resets the connection.
    Reset,
    /// The client reads so slowly that the send deadline passes again and again, but never without progress.
    ReadSlowly,
    /// The client stops reading.
    StopReading,
    /// The client stops sending somewhere in its script.
    StopSending,
    /// The file that is being sent gets shorter.
    Truncate,
    /// The server is told to end.
    Drain,
    /// Room is needed, again and again.
    Displace,
}

impl Fault {
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::Reset,
        Self::ReadSlowly,
        Self::StopReading,
        Self::StopSending,
        Self::Truncate,
        Self::Drain,
        Self::Displace,
    ];
}
