"""Extra metrics, apart from the protocols' own: several right answers a query, and scores against hubs."""
