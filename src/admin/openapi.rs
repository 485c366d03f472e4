//! The OpenAPI document of the API, written by hand: a handful of routes. A test holds its paths to the router's.

use serde_json::{Value, json};

/// OpenAPI 3.1.
pub(super) fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "hashgate for operators",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Cases of the quarantine. No answer but a report holds a digest of one.",
        },
        "security": [{ "token": [] }],
        "paths": {
            "/v1/openapi.json": {
                "get": operation("This document", "viewer", &[], json!({ "type": "object" })),
            },
            "/v1/gate": {
                "get": operation("The gate's version, and the public key of its signature", "viewer", &[], reference("Gate")),
            },
            "/v1/cases": {
                "get": operation("A page of cases, oldest first", "viewer", &[
                    query("state", "One of them", json!({ "enum": ["kept", "stored", "purged"] })),
                    query("from", "Received at this day or time (RFC 3339), or later", json!({ "type": "string" })),
                    query("to", "Received before", json!({ "type": "string" })),
                    query("bucket", "That it was meant for", json!({ "type": "string" })),
                    query("tenant", "That sent it", json!({ "type": "string" })),
                    query("after", "`next` of the page before", json!({ "type": "string" })),
                    query("limit", "Cases on the page", json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 })),
                ], reference("Page")),
            },
            "/v1/cases/{case}": {
                "get": operation("Everything that is known of a case but its digests; an audit line", "viewer", &[case()], json!({ "type": "object" })),
            },
            "/v1/cases/{case}/report": {
                "get": operation("The XARF v4 report and the fields for NCMEC, which name digests and persons; an audit line", "officer", &[
                    case(),
                    query("reporter_org", "Who reports", json!({ "type": "string" })),
                    query("reporter_contact", "Their address for questions", json!({ "type": "string" })),
                    query("reporter_domain", "Their domain", json!({ "type": "string" })),
                ], reference("Report")),
            },
            "/v1/cases/{case}/release": {
                "post": act("Approve a release; the second of two different officers gets the permission", "Release"),
            },
            "/v1/cases/{case}/purge": {
                "post": act("Approve a purge; with the second of two different officers it is done", "Act"),
            },
            "/v1/cases/{case}/hold": { "post": act("Set a legal hold", "Act") },
            "/v1/cases/{case}/unhold": { "post": act("Take the legal hold off", "Act") },
        },
        "components": {
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "A token of admin.tokens" },
            },
            "schemas": schemas(),
        },
    })
}

fn operation(summary: &str, role: &str, parameters: &[Value], answer: Value) -> Value {
    let failed = |description: &str| json!({ "description": description, "content": content(&reference("Error")) });
    json!({
        "summary": summary,
        "description": format!("For the role {role}."),
        "parameters": parameters,
        "responses": {
            "200": { "description": "Done", "content": content(&answer) },
            "400": failed("The request is wrong; the message says how it is right"),
            "401": failed("No token, an unknown or an expired one"),
            "403": failed("Not for this role"),
            "404": failed("There is no such case, no quarantine, or no token configured"),
            "409": failed("A rule stands against it: retention, a hold, the same officer twice"),
            "502": failed("The quarantine bucket refused"),
            "503": failed("The audit log takes no line"),
        },
    })
}

fn act(summary: &str, body: &str) -> Value {
    let mut act = operation(summary, "officer", &[case()], reference("Done"));
    act["requestBody"] = json!({ "required": true, "content": content(&reference(body)) });
    act
}

fn case() -> Value {
    json!({ "name": "case", "in": "path", "required": true, "schema": { "type": "string", "pattern": "^[0-9A-Fa-f]{16}$" } })
}

fn query(name: &str, description: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

fn content(schema: &Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn schemas() -> Value {
    let text = || json!({ "type": "string" });
    let reason = || json!({ "type": "string", "minLength": 1, "maxLength": 1000 });
    json!({
        "Error": object(&["error"], json!({
            "error": object(&["code", "message"], json!({ "code": text(), "message": text() })),
        })),
        "Gate": object(&["version", "key"], json!({ "version": text(), "key": text() })),
        "Page": object(&["cases", "next"], json!({
            "cases": { "type": "array", "items": reference("Summary") },
            "next": { "type": ["string", "null"] },
        })),
        "Summary": object(&["case", "received", "state", "legal_hold", "size", "retain_until"], json!({
            "case": text(), "received": text(), "state": { "enum": ["kept", "stored", "purged"] },
            "legal_hold": { "type": "boolean" }, "reason": text(), "size": { "type": "integer" },
            "matches": { "type": "array", "items": object(&["list", "category", "mark"], json!({
                "list": text(), "category": text(), "mark": text(),
            })) },
            "bucket": { "type": ["string", "null"] }, "tenant": { "type": ["string", "null"] },
            "operation": text(), "payload_kept": { "type": "boolean" }, "retain_until": text(),
        })),
        "Act": object(&["reason"], json!({ "reason": reason() })),
        "Release": object(&["reason"], json!({
            "reason": reason(),
            "all_of_entry": { "type": "boolean", "description": "Every case of the same entry, which is heeded no more" },
        })),
        "Done": object(&["case", "outcome"], json!({
            "case": text(),
            "outcome": { "enum": ["approved", "permitted", "purged", "held", "unheld"] },
            "permissions": { "type": "array", "items": object(&["case", "permission"], json!({
                "case": text(), "permission": text(),
            })) },
            "expires": text(),
        })),
        "Report": object(&["xarf", "ncmec"], json!({ "xarf": { "type": "object" }, "ncmec": { "type": "object" } })),
    })
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}
