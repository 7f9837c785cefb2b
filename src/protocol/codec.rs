//! stub: messages to JSON lines and back.
