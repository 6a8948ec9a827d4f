//! What members of a cluster say to each other, and keep beside their logs.

use craton_consensus::fuzzing as consensus;
use craton_engine::fuzzing as engine;
use craton_server::fuzzing as server;

use super::Parser;

pub(super) const PARSERS: &[Parser] = &[
    Parser {
        name: "request",
        parse: consensus::request,
        seeds: consensus::requests,
    },
    Parser {
        name: "response",
        parse: consensus::response,
        seeds: consensus::responses,
    },
    Parser {
        name: "members",
        parse: consensus::members,
        seeds: consensus::member_lists,
    },
    Parser {
        name: "marks",
        parse: consensus::marks,
        seeds: consensus::mark_files,
    },
    Parser {
        name: "question",
        parse: engine::ask,
        seeds: engine::asks,
    },
    Parser {
        name: "answer",
        parse: engine::answer,
        seeds: engine::answers,
    },
    Parser {
        name: "manifest",
        parse: engine::manifest,
        seeds: engine::manifests,
    },
    Parser {
        name: "hello",
        parse: server::hello,
        seeds: server::hellos,
    },
    Parser {
        name: "welcome",
        parse: server::welcome,
        seeds: server::welcomes,
    },
];
