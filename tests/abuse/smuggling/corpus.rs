//! What has made servers disagree about where a request ends, or what it is about.

/// Ways to say that content is chunked, or nearly.
const CODINGS: [&str; 24] = [
    "Transfer-Encoding: chunked",
    "transfer-encoding: CHUNKED",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding:chunked",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding: chunked\0",
    "Transfer-Encoding: chun\u{b}ked",
    " Transfer-Encoding: chunked",
    "X: y\nTransfer-Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked",
    "Transfer_Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: ",
    "Transfer-Encoding: chunked,",
    "TE: chunked\r\nX-Transfer-Encoding: chunked",
];

/// Ways to say how long content is, beside a length of the whole.
const LENGTHS: [&str; 20] = [
    "Content-Length: 0",
    "Content-Length: 0\r\nContent-Length: ALL",
    "Content-Length: ALL\r\nContent-Length: 0",
    "Content-Length: ALL\r\nContent-Length: ALL",
    "Content-Length: ALL, ALL",
    "Content-Length: 0, ALL",
    "Content-Length: +ALL",
    "Content-Length: 0xALL",
    "Content-Length: ALL.0",
    "Content-Length: ALL ",
    "Content-Length : ALL",
    "Content-Length:\r\n ALL",
    "Content-Length: -1",
    "Content-Length: 18446744073709551616",
    "Content_Length: ALL",
    "X: y\nContent-Length: ALL",
    "X: y\rContent-Length: ALL",
    " Content-Length: ALL",
    "Content-Length: 00ALL",
    "Content-Length: \"ALL\"",
];

/// Chunked contents with a request that hides in the framing.
const CHUNKS: [&str; 14] = [
    "0\r\n\r\nHIDDEN",
    "0;a=b\r\n\r\nHIDDEN",
    "0\n\nHIDDEN",
    "0\r\n\nHIDDEN",
    "0\r\nX: y\r\n\r\nHIDDEN",
    "0\r\nX: y\n\nHIDDEN",
    "3\r\nabc\r\n0\r\n\r\nHIDDEN",
    "3;x=\"\r\n\"\r\nabc\r\n0\r\n\r\nHIDDEN",
    "3;x=\nabc\r\n0\r\n\r\nHIDDEN",
    "3 \r\nabc\r\n0\r\n\r\nHIDDEN",
    "+3\r\nabc\r\n0\r\n\r\nHIDDEN",
    "0x3\r\nabc\r\n0\r\n\r\nHIDDEN",
    "10000000000000003\r\nabc\r\n0\r\n\r\nHIDDEN",
    "3\r\nabcXX0\r\n\r\nHIDDEN",
];

/// Request lines and fields that make two readers see two targets or hosts.
const HEADS: [&str; 22] = [
    "GET /case-N HTTP/1.1\r\nHost: a\r\nHost: b",
    "GET http://a/case-N HTTP/1.1\r\nHost: b",
    "GET http://a/case-N HTTP/1.1",
    "GET http://a@b/case-N HTTP/1.1\r\nHost: a",
    "GET HTTP://A:80/case-N HTTP/1.1\r\nHost: a",
    "GET //b/case-N HTTP/1.1\r\nHost: a",
    "GET /case-N HTTP/1.1\r\nHost: a b",
    "GET /case-N HTTP/1.1\r\nHost : a",
    "GET /case-N HTTP/1.1\nHost: a",
    "GET /case-N HTTP/1.1\r\n Host: a",
    "GET /case-N HTTP/1.1\r\nHost: a\r\n folded",
    "GET  /case-N HTTP/1.1\r\nHost: a",
    "GET /case-N  HTTP/1.1\r\nHost: a",
    "GET\t/case-N\tHTTP/1.1\r\nHost: a",
    "GET /case-N HTTP/1.0\r\nConnection: keep-alive",
    "GET /case-N HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: 0",
    "GET /case-N\r\nHost: a",
    "GET /case-N HTTP/1.2\r\nHost: a",
    "get /case-N HTTP/1.1\r\nHost: a",
    "GET /case-N%20HTTP/1.1%0d%0aHost:%20b HTTP/1.1\r\nHost: a",
    "GET /case-N HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade",
    "GET /case-N HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0",
];

/// Every case: what is ambiguous, with `HIDDEN` in its content, and a plain request behind it that ends the connection.
pub(super) fn cases() -> Vec<Vec<u8>> {
    let hidden = "GET /hidden-N HTTP/1.1\r\nHost: hidden\r\n\r\n";
    let post = |fields: &str, content: &str| {
        format!("POST /case-N HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{content}")
    };
    let mut cases = Vec::new();
    for coding in CODINGS {
        cases.push(post(coding, "0\r\n\r\nHIDDEN"));
        cases.push(post(&format!("Content-Length: 5\r\n{coding}"), "0\r\n\r\nHIDDEN"));
        cases.push(post(&format!("{coding}\r\nContent-Length: ALL"), "0\r\n\r\nHIDDEN"));
    }
    cases.extend(LENGTHS.iter().map(|lengths| post(lengths, "HIDDEN")));
    cases.extend(LENGTHS.iter().map(|lengths| post(lengths, "HIDDEN").replacen("POST", "GET", 1)));
    cases.extend(CHUNKS.iter().map(|chunks| post("Transfer-Encoding: chunked", chunks)));
    cases.extend(HEADS.iter().map(|head| format!("{head}\r\n\r\n")));
    cases.push("\r\n\r\nGET /case-N HTTP/1.1\r\nHost: a\r\n\r\n".into());
    cases.push("\nGET /case-N HTTP/1.1\r\nHost: a\r\n\r\n".into());
    let marker = "GET /marker-N HTTP/1.1\r\nHost: marker\r\nConnection: close\r\n\r\n";
    let cases = cases.into_iter().map(|case| case.replace("HIDDEN", hidden));
    cases.enumerate().map(|(number, case)| number_case(&case, marker, number)).collect()
}

/// Fills in the number of the case, and the length of all the content.
fn number_case(case: &str, marker: &str, number: usize) -> Vec<u8> {
    let fill = |text: &str| text.replace("-N", &format!("-{number}"));
    let case = fill(case);
    let content = case.split_once("\r\n\r\n").map_or(0, |(_, content)| content.len());
    (case.replace("ALL", &content.to_string()) + &fill(marker)).into_bytes()
}
