"""What is shipped beside the code: certificates script, image, compose file, unit, alert rules, dashboard."""
