package reconcile

import (
	"context"
	"fmt"
	"net/http"
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

func (r *Reconciler) show(w http.ResponseWriter, q *http.Request, runs Runs) error {
	var answer report
	for _, s := range []Scope{Recent, All} {
		running, err := runs.Running(q.Context(), s)
		if err != nil {
			return fmt.Errorf("look at reconciliation: %w: %w", schemas.ErrUnavailable, err)
		}
		answer.Running = answer.Running || running
	}
	f, err := r.journal.newest(q.Context())
	if err != nil {
		return fmt.Errorf("look at reconciliation: %w: %w", schemas.ErrUnavailable, err)
	}
	if f != nil {
		answer.Scope, answer.StartedAt, answer.FinishedAt = &f.Scope, told(f.StartedAt), told(f.FinishedAt)
		answer.Compared, answer.Drifted, answer.Healed = f.compared.Load(), f.drifted.Load(), f.healed.Load()
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
