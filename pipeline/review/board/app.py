"""The review board as a marimo notebook: one browser page, one candidate, one form.

`steps.board` serves it behind `pipeline.review.board.guard`, which puts the reviewer's desk into every request. The
candidate is in the address (`?name=…&version=…`), so no redrawn table can slide another one under the form.
"""

import marimo

app = marimo.App(width="full", app_title="Review board")


@app.cell
def _():
    import marimo as mo

    from pipeline.review.board import form as forms

    return forms, mo


@app.cell
def _(mo):
    get_outcome, set_outcome = mo.state(None)
    return get_outcome, set_outcome


@app.cell
def _(forms, get_outcome, mo):
    outcome = get_outcome()
    with mo.status.spinner(title="Reading runs and models …", remove_on_exit=True):
        drawn = forms.look(mo.app_meta().request.meta["desk"], mo.query_params().to_dict(), decided=outcome is not None)
    return drawn, outcome


@app.cell
def _(forms, drawn, mo, set_outcome):
    # Rebuilt with the page: a form belongs to the ticket it was drawn for, and goes with it.
    form = None
    if drawn.ticket:

        def submit(answer, ticket=drawn.ticket):
            mo.status.toast(f"Deciding on version {ticket.version} …")
            outcome = forms.submit(mo.app_meta().request.meta["desk"], ticket, answer)
            if outcome is not None:
                set_outcome(outcome)

        fields = {
            # The browser's own list: arrows do not move within marimo's radio buttons.
            "action": mo.ui.dropdown(list(forms.choices(drawn.ticket)), label="**Your decision**", full_width=True),
            "reason": mo.ui.text_area(label="**Reason**, kept with the decision", full_width=True, max_length=1000),
        }
        if drawn.ticket.needs_override:
            fields["override"] = mo.ui.text_area(
                label="**Why release it although its verdict is not passed** (kept and marked; only to approve)",
                full_width=True,
                max_length=1000,
            )
        form = (
            mo.md("\n\n".join(f"{{{name}}}" for name in fields))
            .batch(**fields)
            .form(
                submit_button_label=f"Decide on version {drawn.ticket.version}",
                validate=lambda answer, ticket=drawn.ticket: forms.missing(ticket, answer),
                on_change=submit,
            )
        )
    return (form,)


@app.cell
def _(drawn, form, mo, outcome):
    pieces = [mo.Html(text) for text in (drawn.top, outcome, drawn.sheet) if text]
    mo.vstack([*pieces, *([] if form is None else [form]), mo.Html(drawn.past)])
    return


if __name__ == "__main__":
    app.run()
