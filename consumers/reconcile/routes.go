package reconcile

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"cartstream/consumers/admin"
	"cartstream/schemas"
)

// Runs is how runs are begun and looked at, on whichever instance they are.
type Runs interface {
	// Trigger asks for a run: at once, or after the one that runs.
	Trigger(ctx context.Context, s Scope) error
	// Running reports whether one runs or was asked for.
	Running(ctx context.Context, s Scope) (bool, error)
}

// Routes are the ops calls: what the newest run came to, and another one.
func (r *Reconciler) Routes(runs Runs) []admin.Route {
	return []admin.Route{
		{Pattern: "GET /admin/reconcile", Handle: func(w http.ResponseWriter, q *http.Request) error { return r.show(w, q, runs) }},
		{Pattern: "POST /admin/reconcile", Handle: func(w http.ResponseWriter, q *http.Request) error { return start(w, q, runs) }},
	}
}

// report is how the newest run stands. What is not known yet is null.
type report struct {
	Running    bool          `json:"running"`
	Scope      *Scope        `json:"scope"`
	StartedAt  *schemas.Time `json:"startedAt"`
	FinishedAt *schemas.Time `json:"finishedAt"`
	Compared   int64         `json:"compared"`
	Drifted    int64         `json:"drifted"`
	Healed     int64         `json:"healed"`
}

// show tells of the run that runs, or was asked for: of the one over all carts where both scopes do; else of the one that ended
// last. A scope in the query asks for that scope's.
func (r *Reconciler) show(w http.ResponseWriter, q *http.Request, runs Runs) error {
	scopes := []Scope{All, Recent}
	if asked := Scope(q.URL.Query().Get("scope")); asked != "" {
		if !slices.Contains(scopes, asked) {
			return admin.BadRequest("scope", "must be recent or all")
		}
		scopes = []Scope{asked}
	}
	var answer report
	var shown *figures
	for _, s := range scopes {
		running, err := runs.Running(q.Context(), s)
		if err != nil {
			return fmt.Errorf("look at reconciliation: %w: %w", schemas.ErrUnavailable, err)
		}
		f, err := r.journal.load(q.Context(), s)
		if err != nil {
			return fmt.Errorf("look at reconciliation: %w: %w", schemas.ErrUnavailable, err)
		}
		switch {
		case answer.Running: // shown is its
		case running:
			answer.Running, shown = true, f
		case shown == nil || f != nil && f.FinishedAt.After(shown.FinishedAt):
			shown = f
		}
	}
	if shown != nil {
		answer.Scope, answer.StartedAt, answer.FinishedAt = &shown.Scope, told(shown.StartedAt), told(shown.FinishedAt)
		answer.Compared, answer.Drifted, answer.Healed = shown.compared.Load(), shown.drifted.Load(), shown.healed.Load()
	}
	admin.Answer(w, http.StatusOK, answer)
	return nil
}

func told(t time.Time) *schemas.Time {
	if t.IsZero() {
		return nil
	}
	at := schemas.Milliseconds(t.UnixMilli())
	return &at
}

func start(w http.ResponseWriter, q *http.Request, runs Runs) error {
	var body struct {
		Scope Scope `json:"scope"`
	}
	if err := admin.Decode(q, &body); err != nil {
		return err
	}
	if body.Scope != Recent && body.Scope != All {
		return admin.BadRequest("scope", "must be recent or all")
	}
	if err := runs.Trigger(q.Context(), body.Scope); err != nil {
		return fmt.Errorf("ask for reconciliation: %w: %w", schemas.ErrUnavailable, err)
	}
	admin.Answer(w, http.StatusAccepted, body)
	return nil
}
