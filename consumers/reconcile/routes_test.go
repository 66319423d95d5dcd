package reconcile_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"cartstream/consumers/admin"
	"cartstream/consumers/reconcile"
	"cartstream/schemas/token"
)

// boss is an admin, whatever the token.
type boss struct{}

func (boss) Verify(context.Context, string) (token.Claims, error) {
	return token.Claims{User: "boss", Admin: true}, nil
}

// asked are the runs that were asked for.
type asked struct {
	scopes  []reconcile.Scope
	running []reconcile.Scope
	away    error
}

func (a *asked) Trigger(_ context.Context, s reconcile.Scope) error {
	a.scopes = append(a.scopes, s)
	return a.away
}

func (a *asked) Running(_ context.Context, s reconcile.Scope) (bool, error) {
	return slices.Contains(a.running, s), a.away
}

func (b *bundle) call(runs *asked, method, query, body string) (status int, answer map[string]any) {
	b.t.Helper()
	h := admin.New(boss{}, slog.New(slog.DiscardHandler), b.Routes(runs)...)
	q := httptest.NewRequestWithContext(b.t.Context(), method, "/admin/reconcile"+query, strings.NewReader(body))
	q.Header.Set("Authorization", "Bearer x")
	if body != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, q)
	raw, err := io.ReadAll(w.Body)
	must(b.t, err)
	must(b.t, json.Unmarshal(raw, &answer))
	return w.Code, answer
}

func TestTheNewestRunsFiguresAreTold(t *testing.T) {
	b := setup(t)
	status, answer := b.call(&asked{}, http.MethodGet, "", "")
	if status != 200 || answer["running"] != false || answer["startedAt"] != nil || answer["compared"] != 0.0 {
		t.Errorf("before the first run: %d %v", status, answer)
	}
	b.settled(10)
	b.recent(10)
	b.edit("u1", set("totalAmount", int64(1)))
	b.forget("u2")
	b.edit("u2", set("items", "none")) // which nothing can heal
	b.all()
	status, answer = b.call(&asked{running: []reconcile.Scope{reconcile.All}}, http.MethodGet, "", "")
	if status != 200 || answer["running"] != true || answer["scope"] != "all" || answer["compared"] != 10.0 ||
		answer["drifted"] != 2.0 || answer["healed"] != 1.0 || answer["startedAt"] == nil || answer["finishedAt"] == nil {
		t.Errorf("%d %v", status, answer)
	}
	b.recent(0) // where a poller of the run over all looks, meanwhile and after
	both := &asked{running: []reconcile.Scope{reconcile.Recent, reconcile.All}}
	for runs, query := range map[*asked]string{both: "", {running: both.running[1:]}: "", {}: "?scope=all"} {
		if _, answer = b.call(runs, http.MethodGet, query, ""); answer["scope"] != "all" || answer["compared"] != 10.0 || answer["running"] != (query == "") {
			t.Errorf("running %v, asked for %q: %v", runs.running, query, answer)
		}
	}
	if status, answer = b.call(&asked{}, http.MethodGet, "?scope=some", ""); status != 400 {
		t.Errorf("of a scope that nobody knows: %d %v", status, answer)
	}
	if _, answer = b.call(&asked{}, http.MethodGet, "", ""); answer["scope"] != "recent" || answer["compared"] != 0.0 {
		t.Errorf("after a run over changed carts: %v", answer)
	}
}

func TestARunIsAskedFor(t *testing.T) {
	b := setup(t)
	for claim, c := range map[string]struct {
		body   string
		away   error
		status int
		want   reconcile.Scope
	}{
		"over changed carts":         {`{"scope":"recent"}`, nil, 202, reconcile.Recent},
		"over all":                   {`{"scope":"all"}`, nil, 202, reconcile.All},
		"over what nobody knows":     {`{"scope":"some"}`, nil, 400, ""},
		"over nothing":               {`{}`, nil, 400, ""},
		"with a field too many":      {`{"scope":"all","rate":5}`, nil, 400, ""},
		"while Redis can't be asked": {`{"scope":"all"}`, errors.New("connection refused"), 503, reconcile.All},
	} {
		t.Run(claim, func(t *testing.T) {
			runs := &asked{away: c.away}
			status, answer := b.call(runs, http.MethodPost, "", c.body)
			if status != c.status {
				t.Errorf("%d %v", status, answer)
			}
			if got := first(runs.scopes); got != c.want {
				t.Errorf("asked for %q", got)
			}
		})
	}
}

func first(all []reconcile.Scope) reconcile.Scope {
	if len(all) == 0 {
		return ""
	}
	return all[0]
}
