//! Migrations: what is applied, what would be, and what is refused.
use crate::Place;
use maos_store::*;

#[tokio::test]
async fn dry_run_changes_nothing() {
    let place = Place::new();
    let missing = migrate(&place.url(), true).await;
    assert!(matches!(missing, Err(StoreError::Missing { .. })), "{missing:?}");
    drop(std::fs::File::create(place.path()).unwrap());
    let todo = migrate(&place.url(), true).await.unwrap();
    assert_eq!((todo[0].version, todo[0].name.as_str(), todo[0].applied_at), (1, "base", None));
    assert_eq!(status(&place.url()).await.unwrap(), todo);
    let options = ConnectOptions { migrate: false, ..ConnectOptions::default() };
    let refused = connect(&place.url(), options.clone()).await.err();
    assert_eq!(refused, Some(StoreError::SchemaOlder { found: 0, known: todo.len() as u32 }));
    let done = migrate(&place.url(), false).await.unwrap();
    assert_eq!(done.len(), todo.len());
    assert!(done.iter().all(|m| m.applied_at.is_some()));
    assert_eq!(status(&place.url()).await.unwrap(), done);
    assert!(migrate(&place.url(), false).await.unwrap().is_empty());
    connect(&place.url(), options).await.unwrap();
    assert!(check(&place.url()).await.unwrap().is_empty());
}

#[tokio::test]
async fn newer_schema_is_refused() {
    let place = Place::new();
    place.open().await.close().await.unwrap();
    let known = status(&place.url()).await.unwrap().len() as u32;
    place.raw().execute("INSERT INTO schema_migration VALUES (99, 'future', 1)", []).unwrap();
    let newer = StoreError::SchemaNewer { found: 99, known };
    assert_eq!(connect(&place.url(), ConnectOptions::default()).await.err(), Some(newer.clone()));
    assert_eq!(migrate(&place.url(), false).await, Err(newer.clone()));
    assert_eq!(status(&place.url()).await, Err(newer));
}

#[tokio::test]
async fn something_else_is_not_a_database() {
    let place = Place::new();
    std::fs::write(place.path(), "a letter to a friend, not a database ".repeat(100)).unwrap();
    let refused = connect(&place.url(), ConnectOptions::default()).await.err().unwrap();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused:?}");
}

#[tokio::test]
async fn postgres_is_refused_without_its_password() {
    let refused = connect("postgresql://maos:secret@db/maos", ConnectOptions::default()).await.err().unwrap();
    let text = refused.to_string();
    assert!(text.contains("PostgreSQL") && !text.contains("secret"), "{text}");
}
