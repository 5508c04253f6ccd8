// The bearer token of whoever signed in: kept for this tab alone, and gone with it.

const KEY = "emg-sessions-token";

export function hasToken() {
  return window.sessionStorage.getItem(KEY) !== null;
}

export function signIn(token) {
  window.sessionStorage.setItem(KEY, token);
}

export function signOut() {
  window.sessionStorage.removeItem(KEY);
}

export function authorization() {
  const token = window.sessionStorage.getItem(KEY);
  return token === null ? {} : { Authorization: `Bearer ${token}` };
}
