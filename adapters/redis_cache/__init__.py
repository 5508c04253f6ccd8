"""The cache: a repository over another one, with Redis or Valkey in between. docs/caching.md says what it promises and how."""
