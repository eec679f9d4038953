//! Request heads as clients send them.

/// What wrk and most other load generators send.
#[must_use]
pub fn minimal(target: &str, fields: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n{fields}\r\n").into_bytes()
}

/// The same head as clients of other ports send it, none of 4,096 like another.
#[must_use]
pub fn varied(head: &[u8], number: usize) -> Vec<u8> {
    let port = format!(":{}\r\n", 1_000 + number % 4_096);
    String::from_utf8_lossy(head).replacen(":8080\r\n", &port, 1).into_bytes()
}

/// What Chromium 156 on Linux sends for a page that is opened for the first time.
#[must_use]
pub fn browser(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\n{BROWSER_FIELDS}\r\n").into_bytes()
}

const BROWSER_FIELDS: &str = "\
    Host: 127.0.0.1:8080\r\n\
    Connection: keep-alive\r\n\
    sec-ch-ua: \"Not:A-Brand\";v=\"8\", \"Chromium\";v=\"156\"\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/156.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/jxl,image/avif,image/webp,image/apng,\
    */*;q=0.8,application/signed-exchange;v=b3;q=0.7\r\n\
    Sec-Fetch-Site: none\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-User: ?1\r\n\
    Sec-Fetch-Dest: document\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-US,en;q=0.9\r\n";
